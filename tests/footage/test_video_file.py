"""Real files: variable frame rate, turned, cut short, a single frame, and what is no video."""

import os

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.footage.video_file import VideoFile
from tests.footage.videos import counted, set_frame_durations, turn_by_quarter, write_video


def searched(path, fps=240.0):
    with VideoFile(path, fps) as video:
        frames = list(video)
        return video, frames


def test_frames_come_in_order_with_their_times(tmp_path):
    video, frames = searched(write_video(tmp_path / "a.mp4", counted(20)))
    assert [frame.number for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / 25, atol=1e-3)
    brightness = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, 10 + 4 * np.arange(20), atol=6)
    assert (video.frames, video.warnings(), video.is_still) == (20, [], False)


def test_colours_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    _, frames = searched(write_video(tmp_path / "red.mp4", [red] * 3))
    assert frames[0].image[..., 0].mean() > 150 > 60 > frames[0].image[..., 2].mean()


def test_so_many_frames_in_a_second_are_searched(tmp_path):
    video, frames = searched(write_video(tmp_path / "a.mp4", counted(50)), fps=5.0)
    assert video.frames == 50
    times = [frame.time_s for frame in frames]
    assert len(times) == 10
    assert (np.diff(times) > 0.15).all()
    assert video.period_s == pytest.approx(0.2)


def test_times_are_those_of_a_variable_frame_rate(tmp_path):
    durations = [0.04] * 5 + [0.5] * 5 + [0.02] * 5
    path = write_video(tmp_path / "vfr.mp4", counted(15))
    set_frame_durations(path, durations)
    _, frames = searched(path)
    expected = np.concatenate([[0], np.cumsum(durations)[:-1]])
    np.testing.assert_allclose([frame.time_s for frame in frames], expected, atol=2e-3)


def test_a_video_of_a_turned_telephone_is_upright(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :16] = 255  # the left edge as recorded; turned clockwise by a quarter, it is the top
    path = write_video(tmp_path / "turned.mp4", [frame] * 3)
    turn_by_quarter(path)
    _, frames = searched(path)
    image = frames[0].image
    assert image.shape == (64, 48, 3)
    assert image[:12].mean() > 200
    assert image[20:].mean() < 30


def test_a_single_frame(tmp_path):
    video, frames = searched(write_video(tmp_path / "one.avi", counted(1), codec="MJPG"))
    assert len(frames) == 1
    assert frames[0].time_s == 0.0
    assert video.is_still
    assert video.warnings() == []


def test_a_file_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (100, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "cut.avi", list(noise), codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    video, frames = searched(path)
    assert 20 < len(frames) < 40
    assert "cut short: it states 4.0 s" in video.warnings()[0]


def test_what_holds_no_video_is_refused_with_its_name(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4", counted(30))
    half = tmp_path / "half.mp4"  # an MP4 whose index, at its end, is missing
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        "text.mp4": "no frame in it can be read",
        "half.mp4": "cut short",
        "empty.mp4": "empty",
        "absent.mp4": "No such file",
        "pipe": "no regular file",
        ".": "a folder",
    }
    with pytest.raises(ConfigError, match="edge-fiqa gateway"):
        VideoFile(type(tmp_path)("rtsp://camera/stream"), 10.0)
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            VideoFile(tmp_path / name, 10.0)
        assert str(tmp_path) in str(caught.value)


def test_a_name_that_looks_like_an_address_or_a_pattern_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:a%02d.mp4", "-a.mp4"):
        os.rename(write_video(tmp_path / "a.mp4", counted(3)), tmp_path / name)  # noqa: PTH104
        video, frames = searched(type(tmp_path)(name))
        assert len(frames) == 3
        assert video.name == name
