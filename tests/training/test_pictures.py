"""Sources: folders, lists and tar shards in one run; who is whom; what cannot be read."""

import csv
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.training.face_labels import Labelling
from edge_fiqa.training.faces import prepare
from edge_fiqa.training.pictures import list_faces
from edge_fiqa.training.recipe import FaceSource
from edge_fiqa.training.teachers import Teachers
from edge_fiqa.training.versions import Versions
from tests.training.photos import photo, write_photo, write_shard

LISTED = FaceSource(list="train.csv")
SHARDS = FaceSource(list="more/faces.csv", same_names={"b": "a"}, persons="more/notes.csv")


@pytest.fixture
def root(tmp_path):
    """Persons a/1 and a/2 as files; 104 faces in two shards: b/1 (by name a/1), c/x (by the notes
    a/2), 40 without a name, and 60 of c/y."""
    rows = [f"persons/a{n // 2}/{n}.png,a,{n // 2 + 1}" for n in range(4)]
    for number in range(4):
        write_photo(tmp_path / f"persons/a{number // 2}/{number}.png", number)
    write(tmp_path / "train.csv", ["path,dataset,identity", *rows])
    (tmp_path / "more").mkdir()
    who = ["b,1"] * 2 + ["c,x"] * 2 + ["d,"] * 40 + ["c,y"] * 60
    where = [(f"faces-{n // 50:03}.tar", f"{n:06}.webp") for n in range(104)]
    for shard in dict.fromkeys(shard for shard, _ in where):
        members = {m: photo(100 + int(m[:6]), ".webp") for s, m in where if s == shard}
        write_shard(tmp_path / "more" / shard, members)
    lines = [f"{s},{m},{w}" for (s, m), w in zip(where, who, strict=True)]
    write(tmp_path / "more/faces.csv", ["shard,member,dataset,identity", *lines])
    notes = [f"{s},{m},{'a/2' if w == 'c,x' else ''}" for (s, m), w in zip(where, who, strict=True)]
    write(tmp_path / "more/notes.csv", ["shard,member,train_identity", *notes])
    return tmp_path


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def listed(sources, root, exclude=()):
    return list_faces(sources, root, exclude, cache=root / "cache")


def ready(root, recogniser_file, smoothing=0.0, degraded=1):
    teachers = Teachers([(Recogniser(path=recogniser_file), None)])
    return prepare(
        listed([LISTED, SHARDS], root),
        root / "cache",
        teachers,
        Versions((degraded, degraded)),
        Labelling(smoothing=smoothing),
    )


def test_a_list_and_a_folder_are_the_same_faces(root):
    folder = FaceSource(list="persons")
    rows, stored = listed([LISTED], root), listed([folder], root)
    assert [p.path for p in rows.lists[0].pictures] == [p.path for p in stored.lists[0].pictures]
    assert rows.identity.tolist() == stored.identity.tolist() == [0, 0, 1, 1]


def test_one_person_of_two_sources_counts_once(root):
    faces = listed([LISTED, SHARDS], root)
    assert len(faces) == 108
    first, second = faces.identity[0], faces.identity[2]
    assert faces.identity[:8].tolist() == [first] * 2 + [second] * 2 + [first] * 2 + [second] * 2
    assert faces.labelled.tolist() == [True] * 8 + [False] * 40 + [True] * 60
    assert len(set(faces.identity[8:48])) == 40  # nobody knows who they are: each its own number
    assert len(set(faces.identity)) == 3 + 40
    apart = listed([LISTED, FaceSource(list="more/faces.csv")], root)
    assert len(set(apart.identity)) == 5 + 40


def test_shards_hold_the_pixels_of_their_list(root):
    faces = listed([LISTED, SHARDS], root)
    for number in (0, 49, 50, 103):
        picture = faces.lists[1].pictures[number]
        write_photo(root / "same.webp", 100 + number)
        from edge_fiqa.faces.images import decode

        np.testing.assert_array_equal(picture.pixels(), decode(root / "same.webp"))


def test_persons_of_a_test_list_are_refused(root):
    write(root / "test.csv", ["path,dataset,identity", "x.png,b,1"])  # by name a/1
    with pytest.raises(ConfigError, match=r"test\.csv: 1 of its persons.*'a/1'"):
        listed([LISTED, SHARDS], root, ["test.csv"])
    write(root / "test.csv", ["path,dataset,identity", "x.png,a,3"])
    assert len(listed([LISTED, SHARDS], root, ["test.csv"])) == 108


def test_faces_without_a_name_are_labelled_by_the_critic_alone(root, recogniser_file):
    raw = ready(root, recogniser_file)
    unlabelled = np.zeros(108, bool)
    unlabelled[8:48] = True
    assert np.isnan(raw.quality[np.tile(unlabelled, 2)]).all()
    assert np.isfinite(raw.quality[~np.tile(unlabelled, 2)]).all()
    smoothed = ready(root, recogniser_file, smoothing=0.5)
    assert np.isfinite(smoothed.quality).all()
    assert smoothed.images.shape == (216, 112, 112, 3)


def test_labels_do_not_depend_on_faces_without_a_name(root, recogniser_file):
    """One of them may be a person of the list: it must not count as somebody else."""
    raw = ready(root, recogniser_file, degraded=0)
    rows = (root / "more/faces.csv").read_text(encoding="utf-8").splitlines()
    write(root / "more/faces.csv", [row for row in rows if not row.endswith(",d,")])
    named = ready(root, recogniser_file, degraded=0)
    assert len(named.quality) == 68
    np.testing.assert_allclose(raw.quality[~np.isnan(raw.quality)], named.quality, rtol=1e-5)


@pytest.mark.parametrize("fault", ["damaged", "absent"])
def test_one_damaged_member_costs_one_face_and_says_why(root, recogniser_file, fault, caplog):
    members = {f"{n:06}.webp": photo(100 + n, ".webp") for n in range(50)}
    if fault == "damaged":
        members["000007.webp"] = b"RIFF" + members["000007.webp"][9:]
    else:
        del members["000007.webp"]
    write_shard(root / "more/faces-000.tar", members)
    made = ready(root, recogniser_file, smoothing=0.5)
    lost = np.flatnonzero(~made.usable)
    assert lost.tolist() == [4 + 7, 108 + 4 + 7]  # clean and degraded
    assert np.isnan(made.quality[lost]).all()
    assert np.isfinite(made.quality[made.usable]).all()
    assert "000007.webp" in caplog.text
    (report,) = (root / "cache").glob("*/lost.csv")
    with report.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["name"] == "faces-000.tar/000007.webp"
    assert row["reason"] in ("absent or cut off", "not a readable 112x112 image")
    again = ready(root, recogniser_file, smoothing=0.5)
    assert again.usable.tolist() == made.usable.tolist()


def test_faces_of_some_data_sets_have_defects_of_their_own(root):
    settings = msgspec.structs.replace(SHARDS, own_defects=("c",))
    faces = listed([LISTED, settings], root)
    assert np.flatnonzero(faces.own_defects).tolist() == [6, 7, *range(48, 108)]
    assert not listed([LISTED, SHARDS], root).own_defects.any()
    whole = msgspec.structs.replace(LISTED, own_defects=("a",))
    assert listed([whole], root).own_defects.all()
    fingerprints = [one.fingerprint for one in listed([LISTED, SHARDS], root).lists]
    assert [one.fingerprint for one in faces.lists] == fingerprints  # the cache stays


@pytest.mark.parametrize("source", [SHARDS, FaceSource(list="persons")])
def test_a_data_set_that_is_not_there_has_no_defects(root, source):
    wrong = msgspec.structs.replace(source, own_defects=("C",))
    with pytest.raises(ConfigError, match="own_defects names C, and no face there"):
        listed([wrong], root)


def test_another_shard_of_the_same_names_is_another_source(root):
    before = listed([SHARDS], root).lists[0].fingerprint
    members = {f"{n:06}.webp": photo(n, ".webp") for n in range(50)}
    write_shard(root / "more/faces-000.tar", members)
    assert listed([SHARDS], root).lists[0].fingerprint != before


def test_shards_whose_faces_were_read_may_be_gone(root, recogniser_file):
    once = ready(root, recogniser_file)
    for shard in (root / "more").glob("*.tar"):
        shard.unlink()
    again = ready(root, recogniser_file)
    np.testing.assert_array_equal(once.images[:], again.images[:])
    np.testing.assert_array_equal(once.quality, again.quality)
    with pytest.raises(ConfigError, match=r"faces-000\.tar: no such file"):
        list_faces([SHARDS], root, cache=root / "other")
    fingerprint = listed([SHARDS], root).lists[0].fingerprint
    (root / "cache" / fingerprint / "clean/images.npy").unlink()
    with pytest.raises(ConfigError, match=r"faces-000\.tar: no such file"):
        ready(root, recogniser_file)


def test_a_shard_that_is_away_before_its_faces_are_read_loses_none(root, recogniser_file):
    list_faces([SHARDS], root, cache=root / "cache")  # remembers which members the shards have
    shard = root / "more/faces-001.tar"
    away = shard.rename(root / "away.tar")
    with pytest.raises(ConfigError, match=r"faces-001\.tar: no such file, and .* fetch it again"):
        ready(root, recogniser_file)
    away.rename(shard)
    assert ready(root, recogniser_file).images[:].max(axis=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("kept", [0, 300, 20_000])
def test_a_cut_off_shard_is_refused(root, recogniser_file, kept):
    shard = root / "more/faces-001.tar"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"faces-001\.tar"):
        ready(root, recogniser_file)


def test_a_picture_is_read_whole_or_not_at_all(root):
    """A decoder may fill what is cut off with grey, which looks like a face."""
    picture = listed([SHARDS], root).lists[0].pictures[0]
    cut = replace(picture, offset=picture.path.stat().st_size - 100)
    with pytest.raises(ValueError, match="cut off"):
        cut.pixels()


def test_refusals_name_the_file(root):
    def refused(name, lines, said):
        write(root / name, lines)
        with pytest.raises(ConfigError, match=said):
            listed([FaceSource(list=name)], root)

    refused("bad.csv", ["file,person", "a.png,1"], r"bad\.csv.*path,dataset,identity")
    refused("one.csv", ["path,dataset,identity", "a,s,1", "b,s,2"], r"one\.csv.*two faces")
    refused("none.csv", ["path,dataset,identity", "a,s,", "b,s,"], r"none\.csv.*two faces")
    refused("empty.csv", ["path,dataset,identity"], r"empty\.csv.*no faces")
    with pytest.raises(ConfigError, match="no faces"):
        listed([FaceSource(list="cache")], root)
    with pytest.raises(ConfigError, match=r"missing\.csv"):
        listed([FaceSource(list="missing.csv")], root)
    write(root / "more/notes.csv", ["a,b", "1,2"])
    with pytest.raises(ConfigError, match=r"notes\.csv.*train_identity"):
        listed([LISTED, SHARDS], root)


def test_the_public_faces_share_no_person_with_test_and_calibration(tmp_path):
    data = Path(__file__).parents[3] / "shared/data"
    if not (data / "more/faces.csv").exists():
        pytest.skip("the public faces are not here")
    names = {"celeba5": "celeba10k", "celebasingle": "celeba10k"}
    sources = (
        FaceSource(list="splits/train.csv"),
        FaceSource(list="more/faces.csv", same_names=names, persons="more/notes.csv"),
    )
    faces = list_faces(sources, data, ["splits/calibration.csv", "splits/test.csv"], cache=tmp_path)
    assert len(faces) == 10_848 + 49_358
