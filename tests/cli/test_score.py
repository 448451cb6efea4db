"""The command as its users run it: real processes, exit statuses, files."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from edge_fiqa.build.builder import synthetic_faces
from edge_fiqa.cli import main
from tests.waiting import until

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, face in enumerate(synthetic_faces(8)):
        Image.fromarray(face).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def score(bundle, capsys):
    """Run `edge-fiqa score` in this process -> (status, stdout, stderr)."""

    def run(*arguments):
        try:
            status = main(
                ["score", "--bundle", str(bundle.folder), "--backend", "ov", *map(str, arguments)]
            )
        except SystemExit as exc:  # argparse
            status = exc.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_as_ndjson(score, photos):
    status, out, err = score(photos, "--format", "ndjson")
    assert (status, err) == (0, "")
    records = lines(out)
    assert [r["source"] for r in records] == [f"{photos}/{k}.png" for k in range(8)]
    assert all(r["schema"] == "edge-fiqa/1" and len(r["exit"]["scores"]) == 4 for r in records)
    assert all(r["exit"]["depth"] == 4 and r["exit"]["reason"] == "full" for r in records)


def test_one_face_as_a_table(score, photos):
    status, out, _ = score(photos / "3.png")
    assert status == 0
    header, row = out.splitlines()
    assert header.split() == ["quality", "raw", "exit", "reason", "ms", "face"]
    assert row.split()[2:4] == ["4", "full"]
    assert row.endswith("3.png#0 (does not look like an aligned crop)")  # it is noise


def test_all_exits_and_gate_add_columns(score, photos):
    _, out, _ = score(photos / "3.png", "--all-exits", "--gate", "50")
    header, row = (line.split() for line in out.splitlines())
    assert header == [
        "quality",
        "verdict",
        "raw",
        "e1",
        "e2",
        "e3",
        "e4",
        "exit",
        "reason",
        "ms",
        "face",
    ]
    assert row[1] == ("accepted" if int(row[0]) >= 50 else "rejected")


@pytest.mark.parametrize(
    ("flags", "depth", "reason"),
    [
        (["--exit", "2"], 2, "fixed"),
        (["--policy", "fixed", "--exit", "1"], 1, "fixed"),
        (["--budget-gflops", "0.0001"], 1, "budget"),
        (["--budget-ms", "1e9"], 4, "full"),
        (["--budget-ms", "1e-9"], 1, "budget"),
        (["--deadline-ms", "1e-9"], 1, "deadline"),
        (["--policy", "convergence", "--eps", "1e9", "--patience", "1"], 2, "convergence"),
        (["--exit", "3", "--policy", "convergence", "--eps", "1e-9"], 3, "fixed"),
        (["--fusion", "last"], 4, "full"),
        (["--fusion", "1,2,3,4"], 4, "full"),
    ],
)
def test_policies(score, photos, flags, depth, reason):
    status, out, _ = score(photos / "0.png", "--format", "ndjson", *flags)
    (record,) = lines(out)
    assert (status, record["exit"]["depth"], record["exit"]["reason"]) == (0, depth, reason)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--exit", "0"], "exit 0 does not exist; this bundle can stop at 1, 2, 3, 4"),
        (["--exit", "13"], "exit 13 does not exist"),
        (["--policy", "budget"], "needs --budget-ms, --budget-gflops or --budget-mj"),
        (["--policy", "deadline"], "needs --deadline-ms"),
        (["--policy", "fixed", "--eps", "0.05"], "--eps is about --policy convergence"),
        (["--policy", "fixed", "--patience", "1"], "--patience is about --policy convergence"),
        (["--policy", "fixed", "--budget-gflops", "1"], "--budget-gflops is about --policy budget"),
        (["--policy", "fixed", "--deadline-ms", "9"], "--deadline-ms is about --policy deadline"),
        (["--policy", "gate", "--gate", "4", "--eps", "1"], "--eps is about --policy convergence"),
        (["--policy", "budget", "--budget-gflops", "1", "--eps", "1"], "--eps is about"),
        (["--policy", "deadline", "--deadline-ms", "9", "--patience", "1"], "--patience is about"),
        (["--policy", "gate"], "needs a gate"),
        (["--policy", "magic"], "invalid choice"),
        (["--budget-ms", "-3"], "must be positive"),
        (["--budget-ms", "soon"], "invalid float"),
        (["--budget-mj", "3"], "energy measured on this device"),
        (["--fusion", "best"], "fusion 'best' is not one of"),
        (["--fusion", "1,2"], "2 weights, the model has 4 exits"),
        (["--all-exits", "--exit", "2"], "--all-exits runs to full depth"),
        (["--jobs", "0"], "--jobs"),
        (["--threads", "0"], "threads must be at least 1"),
        (["--gate", "150"], "0 to 100"),
        (["--format", "xml"], "invalid choice"),
        (["--overwrite"], "--output"),
        (["--output", "/absent/folder/x.ndjson"], "cannot be written"),
        (["--output", "x.csv", "--format", "table"], "--output takes ndjson or csv"),
        (["--landmarks", "/absent.csv"], "No such file"),
        (["--detector", "/absent.onnx"], "no such file"),
        (["--bundle", "/absent"], "is not a bundle"),
        (["--backend", "tpu"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_status_2(score, photos, flags, message):
    status, out, err = score(photos, *flags)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in err


def test_a_bad_file_costs_one_record_and_status_1(score, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"rubbish")
    absent = tmp_path / "absent.jpg"
    status, out, _ = score(tmp_path / "bad.jpg", photos / "1.png", absent, "--format", "ndjson")
    assert status == 1
    codes = [(r["quality"]["code"], r["quality"]["scalar"] is None) for r in lines(out)]
    assert codes == [("unreadable", True), ("ok", False), ("unreadable", True)]
    status, out, _ = score(tmp_path / "bad.jpg")
    assert status == 1
    assert "NA unreadable" in out


def test_an_unset_shell_variable_is_not_the_current_folder(score):
    status, out, err = score("")
    assert (status, out) == (2, "")
    assert "one of the paths is empty" in err


def test_an_empty_folder(score, tmp_path):
    status, _, err = score(tmp_path)
    assert status == 2
    assert "no images in" in err


def test_csv_has_the_same_content(score, photos):
    _, as_csv, _ = score(photos, "--format", "csv", "--fusion", "F")
    _, as_ndjson, _ = score(photos, "--format", "ndjson", "--fusion", "F")
    rows = list(csv.DictReader(as_csv.splitlines()))
    for row, record in zip(rows, lines(as_ndjson), strict=True):
        assert row["id"] == record["id"]
        assert int(row["quality.scalar"]) == record["quality"]["scalar"]
        assert float(row["exit.scores.4"]) == pytest.approx(record["exit"]["scores"][3], abs=1e-5)
        assert row["cost.mj"] == ""


def test_output_resumes(score, photos, tmp_path):
    out = tmp_path / "scores.ndjson"
    assert score(photos / "0.png", photos / "1.png", "--output", out)[0] == 0
    before = out.read_bytes()
    status, _, err = score(photos, "--output", out)
    assert status == 0
    assert "6 faces written" in err
    assert "2 files were there already" in err
    assert out.read_bytes().startswith(before)
    assert len(lines(out.read_text(encoding="utf-8"))) == 8
    assert score(photos, "--output", out)[0] == 0
    assert len(lines(out.read_text(encoding="utf-8"))) == 8
    assert score(photos, "--output", out, "--fusion", "F")[0] == 2
    assert score(photos, "--output", out, "--fusion", "F", "--overwrite")[0] == 0


def test_a_list_on_standard_input(bundle, photos):
    command = [sys.executable, "-m", "edge_fiqa", "score", "--bundle", str(bundle.folder)]
    command += ["--backend", "ov", "-", "--format", "ndjson"]
    listed = "\n".join(f"{photos}/{k}.png" for k in (5, 2))
    done = subprocess.run(command, input=listed, capture_output=True, text=True, check=True)
    assert [r["source"][-5:] for r in lines(done.stdout)] == ["5.png", "2.png"]


def test_a_reader_that_goes_away_is_no_error(bundle, photos):
    program = f"{sys.executable} -m edge_fiqa score --bundle {bundle.folder} --backend ov"
    command = f"{program} {photos} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_ctrl_c_keeps_what_was_written_and_the_run_resumes(bundle, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "out.ndjson"
    folder.mkdir()
    source = folder / "0000.png"
    Image.fromarray(synthetic_faces(1)[0]).save(source)
    for number in range(1, 3000):
        os.link(source, folder / f"{number:04}.png")
    command = [sys.executable, "-m", "edge_fiqa", "score", "--bundle", str(bundle.folder)]
    command += ["--backend", "ov", str(folder), "--output", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: out.exists() and out.stat().st_size > 20_000, 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    written = len(lines(out.read_text(encoding="utf-8")))
    assert 0 < written < 3000
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{written} files were there already" in done.stderr
    assert len({r["source"] for r in lines(out.read_text(encoding="utf-8"))}) == 3000


def test_a_photo_with_landmarks(score, tmp_path):
    from edge_fiqa.cli.demo import LANDMARKS

    file = tmp_path / "l.json"
    file.write_text(json.dumps({str(PORTRAIT): LANDMARKS}), encoding="utf-8")
    status, out, _ = score(PORTRAIT, "--landmarks", file, "--format", "ndjson")
    (record,) = lines(out)
    assert status == 0
    np.testing.assert_allclose(record["landmarks"], LANDMARKS)


def test_a_photo_with_a_detector_and_without(score, shared):
    status, out, _ = score(PORTRAIT, "--detector", "none", "--format", "ndjson")
    assert status == 1
    assert "give --landmarks" in lines(out)[0]["warnings"][0]
    detector = shared / "data/models/yunet_n_640_640.onnx"
    status, out, _err = score(PORTRAIT, "--detector", detector, "--format", "ndjson")
    (record,) = lines(out)
    assert (status, record["quality"]["code"]) == (0, "ok")
    assert len(record["box"]) == 4
    assert len(record["landmarks"]) == 5


def test_photos_and_crops_side_by_side_with_the_detector_that_there_is(
    score, photos, shared, monkeypatch, tmp_path
):
    monkeypatch.setenv("EDGE_FIQA_DETECTOR", str(shared / "data/models/yunet_n_640_640.onnx"))
    out = tmp_path / "o.csv"
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    assert score(photos, "--output", out)[0] == 0
    status, _, err = score(photos, PORTRAIT, tmp_path / "notes.txt", "--output", out)
    assert status == 1  # a text file that is named is a record
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert "grace_hopper" in rows[8]["id"]
    assert sum("#0" in row["id"] for row in rows) == 10
    assert "8 files were there already" in err


def test_what_is_passed_over_is_counted(score, photos, tmp_path):
    (tmp_path / "a.png").write_bytes((photos / "1.png").read_bytes())
    for name in ("b.txt", "c.txt", "d.mp4", ".e.png"):
        (tmp_path / name).write_bytes(b"no image")
    _, _, err = score(tmp_path, "--format", "ndjson")
    assert "4 files passed over" in err
    assert all(part in err for part in ("2 .txt", "1 .mp4", "1 hidden"))


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--detector-size", "9", "64 to 4096"),
        ("--min-score", "1.5", "below 1"),
        ("--max-megapixels", "0", "above 0"),
    ],
)
def test_detector_flags_have_limits(score, photos, flag, value, says):
    status, _, err = score(photos, flag, value)
    assert status == 2
    assert says in err


@pytest.mark.parametrize(
    "flag", ["--detector-size=640", "--min-score=0.5", "--largest", "--all-turns"]
)
@pytest.mark.parametrize("way", ["--landmarks=points.csv", "--aligned", "--detector=none"])
def test_flags_of_the_detector_need_one(score, photos, way, flag):
    status, _, err = score(photos, way, flag)
    assert status == 2
    assert f"{flag.partition('=')[0]} is about detected faces: {way.partition('=')[0]}" in err


@pytest.mark.parametrize("way", ["--aligned", "--detector=none"])
def test_a_distance_of_eyes_needs_faces_with_eyes(score, photos, way):
    status, _, err = score(photos, way, "--min-eye-px=0")
    assert status == 2
    assert "--min-eye-px is about detected faces" in err


@pytest.mark.parametrize("flag", ["--audit", "--risk", "--ranked"])
def test_a_flag_of_value_0_was_given_too(score, photos, flag):
    status, _, err = score(photos, flag, "0")
    assert status == 2
    assert f"{flag} is about --policy gate, which is not given" in err
