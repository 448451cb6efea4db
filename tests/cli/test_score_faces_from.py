"""Scores of faces that were taken from pictures in different ways do not stand in one file."""

import itertools
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from edge_fiqa.cli import main
from tests.published import GRACE

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
SOURCES = {
    "auto with a detector": "crops or detector",
    "auto without a detector": "crops",
    "--aligned": "crops",
    "--detector none": "crops",
    "--detector FILE": "detector",
    "--landmarks FILE": "landmarks",
}


@pytest.fixture
def score(bundle, shared, tmp_path, monkeypatch, capsys):
    """Score a square portrait in one of these ways -> (status, stderr)."""
    detector = shared / "data/models/yunet_n_640_640.onnx"
    picture, points = tmp_path / "square.png", tmp_path / "points.csv"
    Image.open(PORTRAIT).crop((0, 0, 512, 512)).save(picture)
    numbers = ",".join(str(number) for point in GRACE for number in point)
    points.write_text(f"square.png,{numbers}\n", encoding="utf-8")
    flags = {
        "--aligned": ["--aligned"],
        "--detector none": ["--detector", "none"],
        "--detector FILE": ["--detector", str(detector)],
        "--landmarks FILE": ["--landmarks", str(points)],
    }

    def run(way, out):
        file = "none" if way == "auto without a detector" else str(detector)
        monkeypatch.setenv("EDGE_FIQA_DETECTOR", file)
        command = ["score", "--bundle", str(bundle.folder), "--backend", "ov", "--jobs", "1"]
        status = main([*command, str(picture), "--output", str(out), *flags.get(way, ())])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(SOURCES, 2)))
def test_two_ways_to_the_faces_go_on_only_where_they_are_one(score, tmp_path, first, second):
    out = tmp_path / "out.csv"
    status, err = score(first, out)
    assert (status, "1 scored" in err) == (0, True)
    before = out.read_bytes()
    status, err = score(second, out)
    there, now = SOURCES[first], SOURCES[second]
    if there == now:
        assert (status, "1 file was there already" in err) == (0, True)
    else:
        assert status == 2
        assert f"faces from: {there} there, {now} now" in err
    assert out.read_bytes() == before
