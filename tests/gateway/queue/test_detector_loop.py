"""Threads of the detector loop: cameras side by side, one camera by one thread at a time."""

import contextlib
import threading
import time
from collections import Counter
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
                self.barrier.wait(20)
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
    for start in (0, 60):  # between the two it is dark for longer than `lost_s`
        camera = StandingThenGone(stands_s=start + 40.0)
        camera.frames = 10 * start
        watched = WatchedCamera(camera, faces, people, Zones({}), 1.0)
        for _ in range(500):
            loop._detect(watched)
    assert (len(seen), ended) == (1, [(*seen, "stationary")])
    assert skipped["stationary"] > 40
