"""edge-fiqa gallery: report and list, nothing moved unless asked, names of any kind, bad files."""

import html.parser
import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from edge_fiqa.cli import main
from edge_fiqa.measurement.all_exits import synthetic_faces

SCRIPT = "<script>alert(1)<&>"


def gallery(*arguments):
    return main(["gallery", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    """Two persons with three faces each; of one, a copy, a broken file and a strange name."""
    faces = synthetic_faces(6, seed=3)
    for index, crop in enumerate(faces):
        person = tmp_path / "faces" / ("ann" if index < 3 else SCRIPT)
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(person / f"{index}.png")
    ann = tmp_path / "faces/ann"
    Image.fromarray(faces[0]).save(ann / "copy.webp", quality=90)
    (ann / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    shutil.copy(ann / "1.png", ann / f"'{SCRIPT.replace('/', '')}.png")
    return tmp_path / "faces"


def snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows_of(output):
    return [json.loads(line) for line in (output / "gallery.ndjson").read_bytes().splitlines()]


def test_a_line_for_each_picture_and_nothing_moves(tmp_path, folder, bundle, capsys):
    before = snapshot(folder)
    out = tmp_path / "out"
    status = gallery(folder, "-o", out, "--gate", 0, "--keep", 1, "--bundle", bundle.folder)
    assert status == 1  # one file cannot be read
    assert snapshot(folder) == before
    rows = {os.path.basename(row["path"]): row for row in rows_of(out)}  # noqa: PTH119
    assert len(rows) == 9
    assert all(row["schema"] == "edge-fiqa-gallery/1" for row in rows.values())
    assert rows["broken.jpg"]["reason"] == "not_scored"
    assert rows["broken.jpg"]["record"]["quality"]["code"] == "unreadable"
    duplicates = [row for row in rows.values() if row["reason"] == "near_duplicate"]
    assert len(duplicates) == 2
    assert all(row["similarity"] > 0.95 for row in duplicates)
    kept = [row for row in rows.values() if row["action"] == "keep"]
    assert sorted(row["person"] for row in kept) == sorted(["ann", SCRIPT])
    for row in kept:
        others = [r["quality"] for r in rows.values() if r["person"] == row["person"]]
        assert row["quality"] == max(q for q in others if q is not None)
    assert out.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in out.iterdir())
    shown = capsys.readouterr()
    assert "ann" in shown.out
    assert "1 not_scored, " not in shown.out
    assert "2 near_duplicate, 1 not_scored" in shown.err


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.names, self.links = set(), []

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")]


def test_the_page_is_self_contained_and_names_are_text(tmp_path, folder, bundle):
    out = tmp_path / "out"
    gallery(folder, "-o", out, "--gate", 0, "--bundle", bundle.folder)
    page = (out / "report.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.names
    assert {"img", "h2"} <= tags.names
    assert tags.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in tags.links)
    assert "&lt;script&gt;alert(1)" in page


def test_pictures_that_nobody_could_judge_are_not_called_bad(tmp_path, monkeypatch, bundle, capsys):
    """Photographs without a detector: an error with the remedy, never a list of drops to be moved."""
    monkeypatch.setattr("edge_fiqa.cli.gallery.find_detector", lambda choice: None)
    (tmp_path / "faces/ann").mkdir(parents=True)
    Image.fromarray(np.full((300, 200, 3), 90, np.uint8)).save(tmp_path / "faces/ann/photo.png")
    Image.fromarray(synthetic_faces(1)[0]).save(tmp_path / "faces/ann/crop.png")
    command = [tmp_path / "faces", "-o", tmp_path / "out", "--bundle", bundle.folder, "--gate", 0]
    assert gallery(*command, "--move-dropped", tmp_path / "dropped") == 2
    assert "1 picture is no aligned crop, and there is no detector" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "dropped").exists()
    assert gallery(*command, "--detector", "none") == 1


def test_a_missing_library_is_an_error_before_anything_is_scored(
    tmp_path, folder, bundle, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert gallery(folder, "-o", tmp_path / "out", "--bundle", bundle.folder) == 2
    assert "pip install 'edge-fiqa[evaluate]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_gallery_of_which_nothing_can_be_scored_is_an_error(tmp_path, bundle, capsys):
    (tmp_path / "faces/ann").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "faces/ann" / name).write_bytes(b"\xff\xd8\xff nothing")
    assert gallery(tmp_path / "faces", "-o", tmp_path / "out", "--bundle", bundle.folder) == 2
    assert "none of 2 pictures can be scored" in capsys.readouterr().err


def test_what_is_dropped_moves_if_asked(tmp_path, folder, bundle):
    out, dropped = tmp_path / "out", tmp_path / "dropped"
    before = snapshot(folder)
    gallery(folder, "-o", out, "--gate", 0, "--bundle", bundle.folder, "--move-dropped", dropped)
    drops = [row for row in rows_of(out) if row["action"] == "drop"]
    assert len(drops) == len(list(dropped.rglob("*.*"))) == 3
    moves = [json.loads(line) for line in (out / "moved.ndjson").read_text().splitlines()]
    assert sorted(move["from"] for move in moves) == sorted(row["path"] for row in drops)
    for move in moves:
        os.rename(move["to"], move["from"])  # noqa: PTH104
    assert snapshot(folder) == before


def test_bad_requests_write_nothing(tmp_path, folder, bundle, capsys):
    out = tmp_path / "out"
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine").write_text("mine")
    (tmp_path / "nothing").mkdir()
    cases = (
        ([tmp_path / "absent"], out, "no such folder"),
        ([folder / "ann/0.png"], out, "no folder"),
        ([tmp_path / "nothing"], out, "no pictures"),
        ([folder], folder / "report", "lies in the gallery"),
        ([folder, "--move-dropped", folder / "x"], out, "lies in the gallery"),
        ([folder, "--keep", 0], out, "--keep must be at least 1"),
        ([folder, "--gate", 101], out, "gate"),
        ([folder, "--match", 0.5], out, "--match is about --recogniser"),
        ([folder, "--recogniser", tmp_path / "absent.onnx"], out, "no such recogniser"),
        ([folder, "--detector", "none", "--min-eye-px", 0], out, "--min-eye-px is about detected"),
        ([folder, "--min-eye-px", "nan"], out, "--min-eye-px must be"),
        ([folder], tmp_path / "used", "nothing is overwritten"),
    )
    for arguments, output, message in cases:
        assert gallery(*arguments, "-o", output, "--bundle", bundle.folder) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()
    assert not (folder / "report").exists()
    assert os.listdir(tmp_path / "used") == ["mine"]  # noqa: PTH208


def test_a_recogniser_sees_who_is_somebody_else(tmp_path, shared, capsys):
    lfw = shared / "data/faces/lfw"
    names = ("Alejandro_Toledo", "Alvaro_Uribe")
    for name in names:
        (tmp_path / "faces" / name).mkdir(parents=True)
        for file in sorted((lfw / name).iterdir())[:8]:
            shutil.copy(file, tmp_path / "faces" / name)
    first = sorted((lfw / names[1]).iterdir())[9]
    shutil.copy(first, tmp_path / "faces" / names[0] / "wrong.jpg")
    network = tmp_path / "edgeface.yaml"
    path = os.path.relpath(shared / "data/models/edgeface_xs.onnx", tmp_path)
    network.write_text(f"path: {path}\nmean: [127.5, 127.5, 127.5]\nstd: [127.5, 127.5, 127.5]\n")
    out = tmp_path / "out"
    assert gallery(tmp_path / "faces", "-o", out, "--recogniser", network, "--keep", 3) == 0
    others = [row for row in rows_of(out) if row["reason"] == "other_person"]
    assert [os.path.basename(row["path"]) for row in others] == ["wrong.jpg"]  # noqa: PTH119
    assert others[0]["other"] == names[1]
    kept = [row for row in rows_of(out) if row["action"] == "keep"]
    assert len(kept) == 6


def test_photographs_of_a_detector(tmp_path, shared):
    """The largest face of each counts; the others are said."""
    import matplotlib

    portrait = Image.open(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg").convert(
        "RGB"
    )
    scene = Image.fromarray(np.full((700, 1000, 3), 90, np.uint8))
    scene.paste(portrait, (20, 20))
    scene.paste(portrait.resize((256, 300)), (700, 200))
    (tmp_path / "faces/grace").mkdir(parents=True)
    scene.save(tmp_path / "faces/grace/two.png")
    detector = shared / "data/models/yunet_n_640_640.onnx"
    assert gallery(tmp_path / "faces", "-o", tmp_path / "out", "--detector", detector) == 0
    (row,) = rows_of(tmp_path / "out")
    assert row["action"] == "keep"
    assert row["record"]["box"][0] < 500
    assert "1 smaller face in the picture is not looked at" in row["record"]["warnings"]
