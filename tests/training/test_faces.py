"""Preparing faces: lists, caches that are never stale, and clear refusals."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.training import faces, store, versions
from edge_fiqa.training.face_labels import Labelling
from edge_fiqa.training.faces import prepare
from edge_fiqa.training.labels import standardise
from edge_fiqa.training.pictures import list_faces
from edge_fiqa.training.recipe import FaceSource
from edge_fiqa.training.teachers import Teachers
from edge_fiqa.training.versions import Versions
from tests.training.photos import write_photo

LISTED = [FaceSource(list="train.csv")]


@pytest.fixture
def root(tmp_path):
    rows = ["path,dataset,identity"]
    for number in range(6):
        write_photo(tmp_path / f"persons/p{number // 2}/{number}.png", number)
        rows.append(f"persons/p{number // 2}/{number}.png,set,{number // 2}")
    (tmp_path / "train.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


@pytest.fixture
def teacher(recogniser_file):
    return Recogniser(path=recogniser_file)


def made(root, cache, teachers, versions=2, seed=0, sources=LISTED, **labelling):
    return prepare(
        list_faces(sources, root, cache=root / "cache"),
        root / cache,
        teachers,
        Versions((versions,), seed=seed),
        Labelling(**labelling),
    )


def test_faces_are_prepared_once(root, teacher, monkeypatch):
    once = made(root, "cache", Teachers([(teacher, "pooled")]))
    assert once.images.shape == (18, 112, 112, 3)
    assert once.embeddings[0].shape == (18, 3)
    assert once.maps[0].shape == (18, 3, 1, 1)
    assert once.identity.tolist() == [0, 0, 1, 1, 2, 2] * 3
    assert once.clean.tolist() == [True] * 6 + [False] * 12
    assert np.isfinite(once.quality).all()
    monkeypatch.setattr(Recogniser, "run_batches", None)  # nothing is computed again
    monkeypatch.setattr(versions, "random_mixture", None)
    again = made(root, "cache", Teachers([(teacher, "pooled")]))
    np.testing.assert_array_equal(once.quality, again.quality)


def test_a_teacher_that_is_gone_is_missed_only_where_a_table_is(root, teacher, recogniser_file):
    once = made(root, "cache", Teachers([(teacher, "pooled")]), 1)
    recogniser_file.unlink()
    again = made(root, "cache", Teachers([(teacher, "pooled")]), 1)
    np.testing.assert_array_equal(once.embeddings[0][:], again.embeddings[0][:])
    np.testing.assert_array_equal(once.quality, again.quality)
    with pytest.raises(ConfigError, match=r"no such file, and .* lacks what it gives"):
        made(root, "cache", Teachers([(teacher, "pooled")]), 2)


def test_more_variants_take_up_what_is_there(root, teacher, monkeypatch):
    few = made(root, "cache", Teachers([(teacher, None)]), versions=1)
    seen = []
    real = versions.random_mixture
    monkeypatch.setattr(
        versions, "random_mixture", lambda face, *rest: seen.append(rest) or real(face, *rest)
    )
    more = made(root, "cache", Teachers([(teacher, None)]), versions=2)
    assert len(seen) == 6  # the second variant of six faces
    np.testing.assert_array_equal(more.images[:12], few.images[:])
    differ = (more.images[6:12] != more.images[12:]).any((1, 2, 3))
    assert differ.sum() >= 4  # a mixture may be of nothing


def test_every_source_has_its_own_number_of_variants(root, teacher):
    rows = (root / "train.csv").read_text(encoding="utf-8").splitlines()
    for name, kept in (("few.csv", rows[:3]), ("rest.csv", rows[:1] + rows[3:])):
        (root / name).write_text("\n".join(kept), encoding="utf-8")
    sources = [FaceSource(list="few.csv"), FaceSource(list="rest.csv")]
    teachers, labelling = Teachers([(teacher, "pooled")]), Labelling()
    faces = list_faces(sources, root, cache=root / "cache")
    uneven = prepare(faces, root / "cache", teachers, Versions((2, 0)), labelling)
    assert uneven.identity.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 0, 0]
    assert uneven.clean.tolist() == [True] * 6 + [False] * 4
    even = prepare(faces, root / "cache", teachers, Versions((2, 2)), labelling)
    shown = [*range(6), 6, 7, 12, 13]
    np.testing.assert_array_equal(uneven.images[:], even.images[np.array(shown)])
    np.testing.assert_array_equal(uneven.embeddings[0][:], even.embeddings[0][np.array(shown)])
    # The same labels, but standardised over other rows: on one straight line.
    slope, offset = np.polyfit(even.quality[shown], uneven.quality, 1)
    np.testing.assert_allclose(slope * even.quality[shown] + offset, uneven.quality, atol=1e-4)


def test_another_seed_or_feeding_never_meets_stale_files(root, teacher, recogniser_file):
    once = made(root, "cache", Teachers([(teacher, None)]), 1)
    other = made(root, "cache", Teachers([(teacher, None)]), 1, seed=1)
    assert not np.array_equal(once.images[6:], other.images[6:])
    np.testing.assert_array_equal(once.images[:6], other.images[:6])  # the clean ones
    fed = Recogniser(path=recogniser_file, mean=(100, 0, 0))
    other = made(root, "cache", Teachers([(fed, None)]), 1)
    assert not np.array_equal(other.embeddings[0][:], once.embeddings[0][:])


def test_an_interrupted_preparation_goes_on_and_ends_equal(root, teacher, monkeypatch):
    whole = made(root, "a", Teachers([(teacher, "pooled")]))
    monkeypatch.setattr(store, "FLUSH_EVERY", 2)
    monkeypatch.setattr(versions, "DEGRADED_AT_ONCE", 1)
    monkeypatch.setattr(versions, "SEEN_AT_ONCE", 1)
    for module, name, call in ((versions, "random_mixture", 4), (faces, "label_faces", 1)):
        monkeypatch.setattr(module, name, _killed(getattr(module, name), call))
    monkeypatch.setattr(Recogniser, "_sized", _killed(Recogniser._sized, 9))
    kills = 0
    while True:
        try:
            resumed = made(root, "b", Teachers([(teacher, "pooled")]))
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills == 3
    for table in ("images", "quality"):
        np.testing.assert_array_equal(getattr(whole, table)[:], getattr(resumed, table)[:])
    np.testing.assert_array_equal(whole.embeddings[0][:], resumed.embeddings[0][:])
    np.testing.assert_array_equal(whole.maps[0][:], resumed.maps[0][:])


def _killed(function, call):
    """The function, interrupted once, at this call."""
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments)

    return interrupted


def test_two_runs_do_not_fill_one_folder(root, teacher):
    made(root, "cache", Teachers([(teacher, None)]), 0)
    folder = next((root / "cache").glob("*/clean"))
    with versions._alone(folder), pytest.raises(ConfigError, match="another run is preparing"):
        made(root, "cache", Teachers([(teacher, None)]), 0)


def test_too_many_unreadable_faces_are_refused_until_mended(root, teacher):
    broken = root / "persons/p1/3.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"not a picture")
    with pytest.raises(ConfigError, match=r"1 of 6 faces cannot be read.*3\.png"):
        made(root, "cache", Teachers([(teacher, None)]), 0)
    broken.write_bytes(whole)
    assert made(root, "cache", Teachers([(teacher, None)]), 0).usable.all()


def test_a_quality_teacher_has_its_share_of_the_label(root, teacher):
    """It judges by the mean of red, which is known of every face."""
    alone = made(root, "cache", Teachers([(teacher, None)], [teacher]), shares=(1.0,))
    red = alone.images[:][..., 0].mean((1, 2))
    assert np.corrcoef(alone.quality, red)[0, 1] > 0.999
    none = made(root, "cache", Teachers([(teacher, None)], [teacher]), shares=(0.0,))
    half = made(root, "cache", Teachers([(teacher, None)], [teacher]), shares=(0.5,))
    np.testing.assert_allclose(
        half.quality, standardise(none.quality + alone.quality), rtol=1e-3, atol=1e-3
    )
    assert not np.allclose(none.quality, half.quality, atol=0.05)


def test_an_unknown_inner_tensor_is_refused(teacher):
    with pytest.raises(ConfigError, match="no inner tensor 'nothing'"):
        list(teacher.run_batches(np.zeros((1, 112, 112, 3), np.uint8), "nothing"))


def test_a_recogniser_is_fed_as_stated(recogniser_file):
    faces = np.zeros((3, 112, 112, 3), np.uint8)
    faces[..., 0] = 100  # red
    faces[:, :, :8] = 255  # columns that are cut away
    recogniser = Recogniser(path=recogniser_file, mean=(10, 0, 0), std=(2, 1, 1), columns=(8, 104))
    np.testing.assert_allclose(
        recogniser.embed(faces, batch=2), np.tile([1, 0, 0], (3, 1)), atol=1e-6
    )


def test_pairs_give_every_face_a_label(root, teacher):
    faces = made(root, "cache", Teachers([(teacher, "pooled")]), label="pair_similarity")
    assert np.isfinite(faces.quality).all()
    assert faces.quality.std() == pytest.approx(1, abs=1e-3)


def test_a_teacher_may_only_label(root, teacher, recogniser_file):
    other = Recogniser(path=recogniser_file, mean=(100, 0, 0))
    pair = [(teacher, "pooled"), (other, "pooled")]
    both = made(root, "cache", Teachers(pair))
    learnt = made(root, "cache", Teachers(pair, labels_only=frozenset({1})))
    assert len(both.embeddings) == len(both.maps) == 2
    assert len(learnt.embeddings) == len(learnt.maps) == 1
    np.testing.assert_array_equal(learnt.embeddings[0][:], both.embeddings[0][:])
    np.testing.assert_array_equal(learnt.quality, both.quality)  # both label
