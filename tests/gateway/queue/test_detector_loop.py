"""Threads of the detector loop: cameras side by side, one camera by one thread at a time."""

import contextlib
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.queue.detector_loop import DetectorLoop, WatchedCamera
from edge_fiqa.gateway.tracks.camera_faces import CameraFaces
from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.gateway.tracks.followed_people import FollowedPeople, Limits
from edge_fiqa.gateway.tracks.zones import Zones
from edge_fiqa.gateway.video.camera import Frame
from tests.waiting import until

PICTURE = np.zeros((72, 128, 3), np.uint8)


class ReadyCamera:
    """It always has a new frame; every frame shows the camera's number."""

    status = SimpleNamespace(state="live", frame_age_s=0.0)

    def __init__(self, number):
        self.number, self.frames = number, 0

    @property
    def waiting_since(self):
        return float(self.frames)

    def take(self):
        self.frames += 1
        image = PICTURE + np.uint8(self.number)
        return Frame(f"camera{self.number}", self.frames, image, time.monotonic(), 0.0)


class Finder:
    """Counts how many looks are under way, in all and of each camera."""

    def __init__(self, together=1):
        self.barrier = threading.Barrier(together) if together > 1 else None
        self.lock, self.busy, self.most = threading.Lock(), Counter(), 0
        self.twice, self.looks = False, 0

    def find(self, image, regions=None):
        camera = int(image[0, 0, 0])
        with self.lock:
            self.busy[camera] += 1
            self.twice |= self.busy[camera] > 1
            self.most = max(self.most, self.busy.total())
            self.looks += 1
        if self.barrier is not None:
            with contextlib.suppress(threading.BrokenBarrierError):  # at the end of the test
                self.barrier.wait(100)
        with self.lock:
            self.busy[camera] -= 1
        return []


@pytest.fixture
def loop_of():
    started = []

    def make(finder, cameras, threads):
        loop = DetectorLoop(
            finder, SimpleNamespace(), lambda _: None, lambda *_: None, lambda c, n: c, threads
        )
        loop.watch(
            {
                f"camera{number}": WatchedCamera(
                    ReadyCamera(number),
                    CameraFaces(MotionConfig(gate=False)),
                    FollowedPeople(Limits(1.0)),
                    Zones({}),
                    1.0,
                )
                for number in range(cameras)
            }
        )
        started.append(loop)
        loop.start()
        return loop

    yield make
    for loop in started:
        if loop.finder.barrier is not None:
            loop.finder.barrier.abort()
        loop.stop()


def test_two_threads_look_at_two_cameras_at_once(loop_of):
    finder = Finder(together=2)  # a look ends only while another one is under way
    loop_of(finder, cameras=3, threads=2)
    until(lambda: finder.looks > 10)
    assert finder.most == 2
    assert not finder.twice


def test_one_camera_is_looked_at_by_one_thread_at_a_time(loop_of):
    finder = Finder()
    loop_of(finder, cameras=1, threads=3)
    until(lambda: finder.looks > 200)
    assert finder.most == 1


def test_a_camera_that_is_taken_away_is_looked_at_no_more(loop_of):
    finder = Finder()
    loop = loop_of(finder, cameras=2, threads=2)
    until(lambda: finder.looks > 10)
    loop.watch({})
    looks = finder.looks
    time.sleep(0.05)
    assert finder.looks <= looks + 2  # those that were under way
    assert loop.health.problem is None


class StandingThenGone:
    """One face of quality enough for a track, for so many seconds; ten frames in a second."""

    status = SimpleNamespace(state="live", frame_age_s=0.0)
    waiting_since = 0.0

    def __init__(self, stands_s):
        self.stands_s, self.frames = stands_s, 0

    def take(self):
        arrived = self.frames / 10
        image = np.zeros((72, 128, 3), np.uint8)
        if arrived < self.stands_s:
            image[20:50, 40:70] = 255
        self.frames += 1
        return Frame("door", self.frames, image, arrived, arrived)


class FindStanding:
    def searched_size(self, image):
        return image.shape[1], image.shape[0]

    def find(self, image, regions=None):
        if not image.any():
            return []
        return [SeenFace((40.0, 20.0, 30.0, 30.0), np.zeros((5, 2), np.float32), 0.95, None, None)]


@pytest.mark.parametrize(("lost_s", "still_s"), [(0.5, 2.0), (2.0, 5.0)])
def test_who_stands_still_is_one_person_however_seldom_the_detector_looks(lost_s, still_s):
    seen, ended = set(), []
    loop = DetectorLoop(
        FindStanding(),
        SimpleNamespace(put=lambda face: None),
        lambda frame: seen.update(track for track in frame.tracks if track is not None),
        lambda track, reason: ended.append((track, reason)),
        lambda camera, number: number,
        1,
    )
    camera = StandingThenGone(stands_s=12.0)
    faces = CameraFaces(MotionConfig(still_s=still_s))
    watched = WatchedCamera(camera, faces, FollowedPeople(Limits(lost_s)), Zones({}), 1.0)
    for _ in range(118):
        loop._detect(watched)
    assert (len(seen), ended) == (1, [])
    for _ in range(round(10 * lost_s) + 10):
        loop._detect(watched)
    assert ended == [(*seen, "left")]


def test_a_poster_is_announced_once_and_skipped_from_then_on():
    """Whether the detector looks or not, and also after it was lost."""
    seen, ended, skipped = set(), [], Counter()

    def on_frame(frame):
        seen.update(track for track in frame.tracks if track is not None)
        skipped.update(face.skip for face in frame.faces)

    loop = DetectorLoop(
        FindStanding(),
        SimpleNamespace(put=lambda face: None),
        on_frame,
        lambda track, reason: ended.append((track, reason)),
        lambda camera, number: number,
        1,
    )
    people = FollowedPeople(Limits(1.0, stationary_s=20.0))
    faces = CameraFaces(MotionConfig(still_s=1.0))
    for start in (0, 50):  # between the two it is dark for longer than `lost_s`
        camera = StandingThenGone(stands_s=start + 40.0)
        camera.frames = 10 * start
        watched = WatchedCamera(camera, faces, people, Zones({}), 1.0)
        for _ in range(500):
            loop._detect(watched)
    assert (len(seen), ended) == (1, [(*seen, "stationary")])
    assert skipped["stationary"] > 40


def test_a_thread_survives_a_bug_and_looks_at_the_next_frame(loop_of, caplog):
    class Failing(Finder):
        def find(self, image, regions=None):
            super().find(image)
            if self.looks == 1:
                raise TypeError("no number")
            return []

    finder = Failing()
    loop = loop_of(finder, cameras=1, threads=1)
    until(lambda: finder.looks > 3)
    assert "camera camera0: this is a bug" in caplog.text
    assert "TypeError: no number" in caplog.text
    assert loop.heartbeat > 0


def test_frames_under_other_masks_are_passed_over():
    """A reload changes masks and zones together: no frame of the old ones is judged by the new."""
    mask = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0))
    finder, camera = Finder(), ReadyCamera(0)
    loop = DetectorLoop(
        finder, SimpleNamespace(), lambda _: None, lambda *_: None, lambda c, n: n, 1
    )
    faces, people = CameraFaces(MotionConfig(gate=False)), FollowedPeople(Limits(1.0))
    for masks, looks in (((mask,), 0), ((), 1)):
        loop._detect(WatchedCamera(camera, faces, people, Zones({}), 1.0, masks))
        assert finder.looks == looks


@pytest.mark.parametrize(("shows", "height"), [("another", 72), ("same", 144)])
def test_places_are_those_of_one_picture(shows, height):
    """Another source or turn, another size: who stands there is no poster."""
    seen = []
    loop = DetectorLoop(
        FindStanding(),
        SimpleNamespace(put=lambda face: None),
        lambda frame: seen.append(frame.tracks[0]),
        lambda track, reason: None,
        lambda camera, number: number,
        1,
    )
    people, faces = FollowedPeople(Limits(1.0, 20.0)), CameraFaces(MotionConfig(gate=False))
    camera = StandingThenGone(stands_s=100.0)
    for _ in range(250):
        loop._detect(WatchedCamera(camera, faces, people, Zones({}), 1.0, (), "same"))
    assert seen[-1] is None
    take = camera.take
    camera.take = lambda: replace(frame := take(), image=np.resize(frame.image, (height, 128, 3)))
    for _ in range(3):
        loop._detect(WatchedCamera(camera, faces, people, Zones({}), 1.0, (), shows))
    assert seen[-1] is not None


@pytest.mark.parametrize(
    ("state", "age_s", "gap_s", "reasons"),
    [
        ("connecting", None, 0.5, []), ("connecting", None, 1.5, ["camera_lost"]),
        ("failed", None, 0.5, []), ("failed", None, 1.5, ["camera_lost"]),
        ("failed", 0.5, 0.5, ["camera_lost"]), ("stale", 0.5, 0.5, ["camera_lost"]),
        ("live", 0.5, 0.5, []), ("live", 1.5, 1.5, ["camera_lost"]),
        ("ended", 0.1, 0.1, ["left"]),
    ],
)  # fmt: skip
def test_who_was_before_a_camera_that_shows_nothing(state, age_s, gap_s, reasons):
    """A camera without a picture yet may be one that a reload exchanged: it gets lost_s as any gap."""
    ended, people = [], FollowedPeople(Limits(lost_s=1.0))
    for frame in range(5):
        people.update([(10.0, 10.0, 30.0, 30.0)], [0.95], frame / 10)
    loop = DetectorLoop(
        *(None, SimpleNamespace(), lambda _: None),
        lambda _, reason: ended.append(reason),
        lambda camera, number: f"{camera}/{number}",
    )
    status = SimpleNamespace(state=state, frame_age_s=age_s)
    camera = SimpleNamespace(status=status, waiting_since=None)
    faces = CameraFaces(MotionConfig(gate=False))
    loop._watched = {"door": WatchedCamera(camera, faces, people, Zones({}), 1.0)}
    loop._check_cameras(0.4 + gap_s)
    assert ended == reasons
