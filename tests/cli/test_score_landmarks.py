"""`edge-fiqa score --landmarks`: what is said of the file, of its names, of what contradicts it."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from edge_fiqa.cli import main
from edge_fiqa.faces.crop_check import UNALIGNED
from tests.published import GRACE

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


@pytest.fixture
def score(bundle, capsys):
    """Run `edge-fiqa score` in this process -> (status, records, stderr)."""

    def run(*arguments):
        flags = ["score", "--bundle", str(bundle.folder), "--backend", "ov", "--format", "ndjson"]
        status = main([*flags, *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


def points_file(folder, *names):
    row = ",".join(str(number) for point in GRACE for number in point)
    file = folder / "points.csv"
    file.write_text("".join(f"{name},{row}\n" for name in names), encoding="utf-8")
    return file


def test_it_says_how_the_file_was_understood(score, tmp_path):
    status, (record,), err = score(PORTRAIT, "--landmarks", points_file(tmp_path, PORTRAIT))
    assert (status, record["warnings"]) == (0, [])
    assert err.count("\n") == 1
    assert "points in order: left eye, right eye, nose" in err


def test_eyes_closer_than_the_limit_are_refused_with_both_numbers(score, tmp_path):
    distance = np.hypot(*np.subtract(GRACE[1], GRACE[0]))
    file = points_file(tmp_path, PORTRAIT)
    status, (record,), _ = score(PORTRAIT, "--landmarks", file, "--min-eye-px", "500")
    assert (status, record["quality"]["code"], record["quality"]["scalar"]) == (
        1,
        "too_small",
        None,
    )
    (reason,) = record["warnings"]
    assert f"the eyes are {distance:.1f} pixels apart, below the limit of 500" in reason
    status, (record,), _ = score(PORTRAIT, "--landmarks", file, "--min-eye-px", str(int(distance)))
    assert (status, record["quality"]["code"]) == (0, "ok")


@pytest.mark.parametrize("limit", ["-1", "nan", "inf"])
def test_a_smallest_eye_distance_is_a_number_from_0(score, tmp_path, limit):
    file = points_file(tmp_path, PORTRAIT)
    status, records, err = score(PORTRAIT, "--landmarks", file, f"--min-eye-px={limit}")
    assert (status, records) == (2, [])
    assert f"--min-eye-px must be a number from 0, got {limit}" in err


def test_names_that_match_no_image_are_counted(score, tmp_path):
    file = points_file(tmp_path, PORTRAIT, "typo.jpg", "other.jpg")
    status, _, err = score(PORTRAIT, "--landmarks", file)
    assert status == 0
    assert "2 of its 3 names match no image of this run (for example typo.jpg)" in err


def test_a_file_of_which_no_name_matches_is_a_mistake(score, tmp_path):
    status, _, err = score(PORTRAIT, "--landmarks", points_file(tmp_path, "typo.jpg"))
    assert status == 2
    assert "1 of its 1 name matches no image" in err


def test_images_scored_before_are_matches_too(score, tmp_path):
    file, output = points_file(tmp_path, PORTRAIT), tmp_path / "out.ndjson"
    for _ in range(2):
        status, _, err = score(PORTRAIT, "--landmarks", file, "--output", output)
        assert status == 0
        assert "no image of this run" not in err


def test_a_second_face_of_a_scored_image_gets_its_row(score, tmp_path):
    output = tmp_path / "out.ndjson"
    for faces, written in ((1, "1 face written"), (2, "2 faces written"), (2, "0 faces written")):
        file = points_file(tmp_path, *[PORTRAIT] * faces)
        status, _, err = score(PORTRAIT, "--landmarks", file, "--output", output)
        assert (status, written in err) == (0, True)
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        assert [row["id"] for row in rows] == [f"{PORTRAIT}#{k}" for k in range(faces)]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--landmarks", "--detector"), "--detector and --landmarks"),
        (("--landmarks", "--aligned"), "--aligned and --landmarks"),
    ],
)
def test_two_ways_to_the_faces_contradict_each_other(score, tmp_path, flags, named):
    values = {"--landmarks": [points_file(tmp_path, PORTRAIT)], "--detector": ["yunet.onnx"]}
    arguments = [part for flag in flags for part in (flag, *values.get(flag, ()))]
    status, records, err = score(PORTRAIT, *arguments)
    assert (status, records) == (2, [])
    assert named in err


def test_a_square_that_is_no_crop_is_scored_with_warnings(score, tmp_path):
    square = tmp_path / "square.png"
    Image.open(PORTRAIT).crop((0, 0, 512, 512)).save(square)
    _, (record,), _ = score(square, "--aligned")
    assert record["warnings"] == ["resized from 512x512", UNALIGNED]


def test_refused_points_keep_their_record(score, tmp_path):
    row = ",".join(str(number) for point in np.array(GRACE)[[1, 0, 2, 4, 3]] for number in point)
    file = tmp_path / "points.csv"
    file.write_text(f"{PORTRAIT},{row}\n", encoding="utf-8")
    status, (record,), _ = score(PORTRAIT, "--landmarks", file)
    assert (status, record["quality"]["code"], record["quality"]["scalar"]) == (1, "no_face", None)
    assert "left and right look exchanged" in record["warnings"][0]


CASES = {
    "lm_ok.csv": None, "hdr_xs_then_ys.csv": None, "hdr_right_first.csv": None, "semi.csv": None,
    "mtcnn.json": None, "lm_norm.csv": None, "exif6_shown.csv": None,
    "lm_swap_lr.csv": "left and right look exchanged",
    "lm_swap_eyes.csv": "the two eyes look exchanged",
    "lm_yx.csv": "y looks to come before x",
    "exif6_raw.csv": "stored picture; give those after its EXIF rotation",
}  # fmt: skip
"""What is said of a case; None where it is read and the face is scored."""


@pytest.mark.parametrize("name", CASES)
def test_the_cases(shared, score, name):
    folder = shared / "cases/landmarks"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    picture = folder / ("exif6.jpg" if name.startswith("exif6") else "grace.png")
    status, (record,), _ = score(picture, "--landmarks", folder / name)
    if CASES[name] is None:
        assert (status, record["warnings"]) == (0, [])
    else:
        assert (status, record["quality"]["code"]) == (1, "no_face")
        assert CASES[name] in record["warnings"][0]
