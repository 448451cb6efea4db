"""edge-fiqa best on a real portrait that moves, with the detector as it is shipped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import matplotlib
import msgspec
import numpy as np
import pytest

from edge_fiqa.cli import main
from edge_fiqa.cli.best import _say_people
from edge_fiqa.faces.images import decode
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.footage.videos import counted, write_video
from tests.scoring.records import record
from tests.waiting import until

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


@pytest.fixture(scope="session")
def detector(shared):
    return shared / "data/models/yunet_n_640_640.onnx"


def portrait_video(path, frames=30):
    """The portrait comes into the picture from the left and stays, getting sharper."""
    face = cv2.resize(decode(PORTRAIT), (160, 188))
    images = []
    for number in range(frames):
        image = np.full((240, 320, 3), 90, np.uint8)
        blur = max(0.3, 6 - 0.3 * number)
        left = min(100, 5 * number)
        image[30:218, left : left + 160] = cv2.GaussianBlur(face, (0, 0), blur)
        images.append(image)
    return write_video(path, images, fps=10.0)


def best(*arguments):
    return main(["best", *map(str, arguments)])


def test_one_person_with_time_crop_and_record(tmp_path, detector, capsys):
    video = portrait_video(tmp_path / "door.mp4")
    folder = tmp_path / "out"
    assert best(video, "-o", folder, "--detector", detector, "--gate", 40) == 0
    out, err = capsys.readouterr()
    result = json.loads((folder / "best.json").read_text())
    assert result["schema"] == "edge-fiqa-best/1"
    assert result["complete"]
    (person,) = result["persons"]
    assert person["time_s"] > 1.0  # when it had become sharp
    assert person["record"]["frame_time"] == person["time_s"]
    assert person["record"]["decision"] == {
        "gate": 40,
        "accepted": True,
        "risk": None,
        "confidence": None,
    }
    assert person["record"]["source"] == str(video)
    assert {"person-0001.jpg", "person-0001.png", "contact-sheet.jpg"} < set(os.listdir(folder))  # noqa: PTH208
    assert "person-0001.jpg" in out
    assert "accepted" in out
    assert "1 best shot " in err
    assert "times as fast as it plays" in err
    assert main(["score", str(folder / "person-0001.png"), "--format", "ndjson"]) == 0
    again = json.loads(capsys.readouterr().out)["quality"]["scalar"]
    assert abs(again - person["record"]["quality"]["scalar"]) <= 1
    assert best(video, "-o", folder, "--detector", detector) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert json.loads((folder / "best.json").read_text()) == result


def test_a_single_frame_is_a_video_too(tmp_path, detector):
    video = portrait_video(tmp_path / "one.mp4", frames=1)
    assert best(video, "-o", tmp_path / "out", "--detector", detector) == 0
    assert len(json.loads((tmp_path / "out/best.json").read_text())["persons"]) == 1


def test_a_video_without_faces_gives_an_index_of_nobody(tmp_path, detector, capsys):
    video = write_video(tmp_path / "grey.mp4", counted(10))
    assert best(video, "-o", tmp_path / "out", "--detector", detector) == 0
    assert json.loads((tmp_path / "out/best.json").read_text())["persons"] == []
    assert os.listdir(tmp_path / "out") == ["best.json"]  # noqa: PTH208
    assert "no usable face" in capsys.readouterr().err


def test_a_video_that_is_cut_short_gives_what_it_has_and_status_1(tmp_path, detector, capsys):
    face = decode(PORTRAIT)[:480, :512]
    video = write_video(tmp_path / "cut.avi", [face] * 60, fps=10.0, codec="MJPG")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert best(video, "-o", tmp_path / "out", "--detector", detector) == 1
    result = json.loads((tmp_path / "out/best.json").read_text())
    assert len(result["persons"]) == 1
    assert "cut short" in result["warnings"][0]
    assert "cut short" in capsys.readouterr().err


def test_bad_input_leaves_nothing_behind(tmp_path, detector, capsys):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    good = write_video(tmp_path / "a.mp4", counted(3))
    for arguments, message in (
        ([text], "no frame in it can be read"),
        ([tmp_path / "absent.mp4"], "No such file"),
        ([good, "--fps", 0], "--fps must be above 0"),
        ([good, "--fps", "nan"], "--fps must be above 0"),
        ([good, "--detector-size", 10], "--detector-size must be"),
        ([good, "--min-eye-px", "nan"], "--min-eye-px must be"),
        ([good, "--gate", 101], "gate"),
    ):
        command = [*arguments, "-o", tmp_path / "out"]
        assert best(*command, *([] if "--detector" in arguments else ["--detector", detector])) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert best(good, "-o", tmp_path / "out", "--detector", "none") == 2
    assert "a video needs a detector" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_seen_so_far_stays_when_it_is_stopped(tmp_path, detector, number, status):
    video = portrait_video(tmp_path / "long.mp4", frames=3000)
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "edge_fiqa", "best", video, "-o", folder, "--fps", "240"]
    process = subprocess.Popen(
        [*map(str, command), "--detector", str(detector)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    until((folder / "best.json").exists)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == status, err
    result = json.loads((folder / "best.json").read_text())
    assert not result["complete"]
    assert result["frames_searched"] < 3000
    assert "stopped" in err


def test_a_person_is_listed_with_the_causes_that_are_certain(capsys):
    causes = (ReportedCause("motion_blur", "Sharpness", 9), ReportedCause("noise", None, 20))
    for reasons, end in ((Reasons("hold still", causes, {}), " [motion blur, noise]"), (None, "")):
        entry = SimpleNamespace(
            person=1,
            first_s=0.0,
            last_s=4.0,
            time_s=2.0,
            picture="person-1.jpg",
            record=msgspec.structs.replace(record("v.mp4"), reasons=reasons),
        )
        _say_people(SimpleNamespace(persons=[entry]))
        assert capsys.readouterr().out.splitlines()[1].endswith(f"0:04.0      person-1.jpg{end}")
