"""Cameras: the latest frame, coming back, and a real RTSP server that is killed."""

import threading

import cv2
import numpy as np
import pytest

from edge_fiqa.gateway.video import camera as camera_module
from edge_fiqa.gateway.video.camera import Camera
from edge_fiqa.gateway.video.capture import ImageFolder, Video, open_capture
from edge_fiqa.gateway.video.source_lost import SourceLost
from tests.gateway.people import LONG, Script, camera_config, open_script, picture
from tests.gateway.video.conftest import PASSWORD
from tests.waiting import until


@pytest.fixture
def quick(monkeypatch):
    """Cameras come back at once."""
    monkeypatch.setattr(camera_module, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(camera_module, "LONGEST_WAIT_S", 0.2)


@pytest.fixture
def started():
    cameras = []

    def start(camera):
        cameras.append(camera)
        camera.start()
        return camera

    yield start
    for camera in cameras:
        camera.stop()


def write_video(path, frames=30, fps=30.0):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for number in range(frames):
        video.write(np.full((48, 64, 3), (200, 8 * number, 0), np.uint8))  # BGR
    video.release()


def test_only_the_latest_frame_is_kept(started):
    script = Script([[picture(n) for n in range(40)]], fps=500)
    camera = started(Camera("a", camera_config("a", fps=60), opener=open_script({"a": script})))
    until(lambda: camera.status.state == "ended")
    frame = camera.take()
    assert frame.number == camera.status.frames
    assert camera.take() is None
    assert camera.latest is frame
    assert camera.status.dropped_frames == frame.number - 1
    assert frame.number < 40  # 60 frames/s are looked at, 500 come
    assert camera.status.size == (400, 120)


def test_it_comes_back_after_every_failure(quick, started):
    plays = [[picture(1), "cut"], [picture(2), "cut"], [picture(3)] * LONG]
    camera = started(Camera("a", camera_config("a"), opener=open_script({"a": Script(plays)})))
    until(lambda: camera.status.state == "live" and camera.status.reconnects == 2)
    assert camera.status.problem is None


def test_waits_grow_and_vary(monkeypatch, started):
    waited = []

    class Impatient(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            if len(waited) > 9:
                self.set()

    camera = Camera("a", camera_config("a"), opener=open_script({"a": Script([])}))
    camera._stop = Impatient()
    started(camera)
    until(lambda: len(waited) == 10)
    longest = [min(0.5 * 2**n, 30.0) for n in range(10)]
    assert all(0.5 * most <= w <= most for w, most in zip(waited, longest, strict=True))
    assert len(set(waited)) == 10
    assert camera.status.state == "failed"
    assert camera.status.problem == "nobody answers"


def test_a_bug_in_a_source_is_said_and_the_camera_comes_back(started, quick, caplog):
    """An exception that nobody expects must not end the thread: its camera would never come back."""
    script, tries = Script([[picture(1)] * LONG]), []

    def opener(config):
        tries.append(config)
        if len(tries) == 1:
            raise MemoryError
        return script.open()

    camera = started(Camera("a", camera_config("a"), opener=opener))
    until(lambda: camera.status.state == "live")
    assert "this is a bug" in caplog.text


def test_a_source_that_hangs_is_stale_and_goes_on(started):
    script = Script([[picture(1), "hang", *[picture(2)] * LONG]])
    config = camera_config("a", stale_s=0.2)
    camera = started(Camera("a", config, opener=open_script({"a": script})))
    until(lambda: camera.status.state == "stale")
    assert camera.status.frame_age_s > 0.2
    script.go_on.set()
    until(lambda: camera.status.state == "live")
    assert camera.status.reconnects == 0


def test_damaged_frames_are_passed_over_until_there_are_too_many(quick, started):
    some = [picture(1), *[None] * 10, picture(2), *[None] * 25]
    script = Script([some, [picture(3)] * LONG], fps=50)
    camera = started(Camera("a", camera_config("a", fps=60), opener=open_script({"a": script})))
    until(lambda: camera.status.state == "live" and camera.status.reconnects == 1)
    assert camera.status.frames >= 2


def test_a_file_plays_at_its_own_speed_in_rgb(tmp_path, started):
    write_video(tmp_path / "a.avi")
    camera = started(Camera("a", camera_config(str(tmp_path / "a.avi"), fps=60)))
    until(lambda: camera.latest is not None)
    begin = camera.latest
    until(lambda: camera.status.state == "ended")
    assert camera.latest.arrived - begin.arrived > 0.5  # 30 frames at 30 frames/s
    red, green, blue = begin.image[24, 32].astype(int)
    assert blue > 150
    assert red < 60
    assert camera.latest.image[24, 32, 1] > green + 150


def test_a_file_may_begin_anew(tmp_path, started):
    write_video(tmp_path / "a.avi", frames=3)
    camera = started(Camera("a", camera_config(str(tmp_path / "a.avi"), loop=True, fps=60)))
    until(lambda: camera.status.frames > 9)
    assert camera.status.state == "live"


def test_a_file_without_frames_is_not_read_for_ever(tmp_path, quick, started):
    camera = Camera("a", camera_config("a", loop=True), opener=open_script({"a": Script([[]] * 5)}))
    started(camera)
    until(lambda: camera.status.state == "failed")
    assert "not a single frame" in camera.status.problem


def test_a_folder_of_images(tmp_path):
    for number, name in enumerate(("b.png", "a.png", "c.txt")):
        if name.endswith("png"):
            cv2.imwrite(str(tmp_path / name), np.full((50, 60, 3), 40 * number, np.uint8))
        else:
            (tmp_path / name).write_text("no image", encoding="utf-8")
    (tmp_path / "d.jpg").write_bytes(b"rubbish")
    capture = open_capture(camera_config(str(tmp_path), fps=60))
    images = []
    while capture.grab():
        images.append(capture.retrieve())
    assert [None if image is None else int(image[0, 0, 0]) for image in images] == [40, 0, None]


@pytest.mark.parametrize("name", ["absent.avi", "rubbish.avi"])
def test_what_is_no_video(tmp_path, name):
    (tmp_path / "rubbish.avi").write_bytes(b"RIFF rubbish")
    with pytest.raises(SourceLost, match="not a video") as caught:
        Video(camera_config(str(tmp_path / name)))
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(SourceLost, match="no images"):
        ImageFolder(tmp_path, 10)


def test_an_rtsp_server_that_is_killed_and_restarted(rtsp, quick, started):
    start, url = rtsp
    server = start()
    config = camera_config(url, fps=20, stale_s=1.0, timeout_s=2.0)
    camera = started(Camera("door", config))
    until(lambda: camera.status.state == "live")
    assert camera.status.size == (320, 240)
    server.kill()
    until(lambda: camera.status.state == "failed")
    assert PASSWORD not in str(camera.status)
    start()
    until(lambda: camera.status.state == "live")
    assert camera.status.reconnects >= 1
    frames = camera.status.frames
    until(lambda: camera.status.frames > frames + 5)


def test_a_wrong_password_is_a_failed_camera(rtsp, quick, started):
    start, url = rtsp
    start()
    wrong = url.replace(PASSWORD, "guessed")
    camera = started(Camera("door", camera_config(wrong, timeout_s=2.0)))
    until(lambda: camera.status.state == "failed")
    assert camera.status.problem == "it refuses user name and password"
    assert "guessed" not in str(camera.status)


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_a_password_of_special_characters(rtsp, quick, started, monkeypatch, method):
    start, url = rtsp
    password = "a/b#c?d%e@f:g&h+i é"
    start(method, password=password)
    monkeypatch.setenv("CAM_PASSWORD", password)
    source = url.replace(f"viewer:{PASSWORD}@", "")
    config = camera_config(source, username="viewer", password_env="CAM_PASSWORD", timeout_s=2.0)
    camera = started(Camera("door", config))
    until(lambda: camera.status.state == "live")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def arrive(camera, clock, times):
    for seconds in times:
        clock.now = 100.0 + seconds
        camera._keep(picture(1), clock.now)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([n / 10 for n in range(101)], 10.0),  # evenly
        ([n / 10 + (0.09 if n % 2 else 0) for n in range(101)], 10.0),  # in pairs, 10 ms apart
        ([n // 5 / 2 + n % 5 / 1000 for n in range(101)], 10.0),  # five at once, twice a second
        ([2 * n for n in range(11)], 0.5),
        ([0, 0.1, 0.2, 0.3], 10.0),  # it began just now
        ([0], 0.0),
    ],
)
def test_frames_a_second_are_those_that_came(times, rate):
    clock = Clock()
    camera = Camera("a", camera_config("a"), opener=open_script({}), clock=clock)
    arrive(camera, clock, times)
    assert camera.status.frames_per_s == pytest.approx(
        rate, rel=0.12, abs=0.2
    )  # one frame in five seconds


def test_the_rate_falls_when_frames_stop_coming():
    clock = Clock()
    camera = Camera("a", camera_config("a", stale_s=60), opener=open_script({}), clock=clock)
    arrive(camera, clock, [n / 10 for n in range(101)])
    clock.now += 2.5
    assert camera.status.frames_per_s == pytest.approx(5, abs=0.3)
    clock.now += 3
    assert camera.status.frames_per_s == 0


def test_a_file_that_begins_anew_is_no_reconnect(tmp_path, started):
    write_video(tmp_path / "a.avi", frames=3)
    camera = started(Camera("a", camera_config(str(tmp_path / "a.avi"), loop=True, fps=60)))
    until(lambda: camera.status.frames > 9)
    assert camera.status.reconnects == 0


def test_attempts_that_bring_no_frame_are_no_reconnects(quick, started):
    plays = [[picture(1), "cut"], ["cut"], ["cut"], [picture(2)] * LONG]
    camera = started(Camera("a", camera_config("a"), opener=open_script({"a": Script(plays)})))
    until(lambda: camera.status.state == "live" and camera.status.reconnects == 1)
    until(lambda: camera.status.frames > 5)
    assert camera.status.reconnects == 1


@pytest.mark.parametrize(
    ("rotate", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))]
)
def test_a_camera_that_hangs_on_its_side(started, rotate, corner):
    """Clockwise: what was at the top left is then at the top right."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[0, 0] = 255
    opener = open_script({"a": Script([[image] * LONG])})
    camera = started(Camera("a", camera_config("a", rotate=rotate), opener=opener))
    until(lambda: camera.latest is not None)
    turned = camera.latest.image
    assert turned.shape == ((20, 40, 3) if rotate % 180 == 0 else (40, 20, 3))
    assert turned[corner].tolist() == [255, 255, 255]
    assert turned.sum() == 3 * 255
    assert turned.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_both_transports_of_rtsp(rtsp, started, transport):
    start, url = rtsp
    start()
    config = camera_config(url, transport=transport, ffmpeg={"reorder_queue_size": "0"})
    camera = started(Camera("door", config))
    until(lambda: camera.status.frames > 5)
