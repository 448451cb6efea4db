"""How what was seen and scored becomes events and counts, told step by step."""

import time

import msgspec
import numpy as np
import pytest

from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.config.gateway import BestShotConfig
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.queue.detector_loop import FrameFaces
from edge_fiqa.gateway.queue.face_queue import QueuedFace
from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.gateway.video.camera import Frame
from edge_fiqa.record import Cost
from tests.gateway.fake_view import record
from tests.gateway.people import Collected
from tests.waiting import until

CROP = np.zeros((112, 112, 3), np.uint8)
PICTURE = np.zeros((50, 40, 3), np.uint8)
BOX = (1.0, 2.0, 30.0, 40.0)
POINTS = ((1.0, 1.0),) * 5


class Told:
    """A story that is told to its end, and what came of it."""

    def __init__(self, **best_shot):
        self.sink, self.shown = Collected(), []
        config = BestShotConfig(**{"clearly": 5, **best_shot})
        self.story = EventBuilder(
            config, [self.sink], lambda camera, crop, record: self.shown.append(camera)
        )
        self.frames = 0

    def look(self, *tracks, skip=None):
        self.frames += 1
        frame = Frame("door", self.frames, PICTURE, time.monotonic(), 1000.0 + self.frames)
        face = SeenFace(BOX, POINTS, 0.9, None if skip else CROP, skip)
        waiting = sum(track is not None and skip is None for track in tracks)
        self.story.looked(FrameFaces(frame, [face] * len(tracks), list(tracks), waiting))

    def job(self, track="door/1/1", late=False):
        now = time.monotonic()
        face = FaceCrop("a", "door", CROP, BOX, POINTS)
        return QueuedFace(face, now, now + (-1 if late else 9), 1000.0, "door", track, PICTURE)

    def answer(self, scalar, track="door/1/1", late=False, **more):
        job = self.job(track, late)
        found = msgspec.structs.replace(record(scalar, **more), frame_time=None)
        self.story.answered(job, found, time.monotonic())

    def end(self):
        self.story.start()
        self.story.finish(10)
        return [(event.type, event.sequence, event.reason) for event in self.sink.events]


def test_new_update_end():
    told = Told()
    for quality in (40, 43, 50):
        told.look("door/1/1")
        told.answer(quality)
    told.story.left("door/1/1", "left")
    assert told.end() == [("new", 0, None), ("update", 1, None), ("end", 2, "left")]
    first, second, end = told.sink.events
    assert (first.record.quality.scalar, second.record.quality.scalar) == (40, 50)
    assert (end.faces_seen, end.faces_scored, end.record.quality.scalar) == (3, 3, 50)
    assert end.record.frame_time == 1000.0
    assert (first.started, first.box) == (1001.0, (80.0, 40.0, 90.0, 110.0))
    assert told.sink.snapshots[0][:2] == b"\xff\xd8"


def test_the_end_waits_for_the_last_answer():
    told = Told()
    told.look("door/1/1")
    told.look("door/1/1")
    told.story.left("door/1/1", "left")
    told.answer(40)
    told.answer(90)
    assert [kind for kind, _, _ in told.end()] == ["new", "update", "end"]


def test_the_end_waits_for_the_last_loss_as_well():
    told = Told()
    told.look("door/1/1")
    told.story.left("door/1/1", "camera_lost")
    told.story.lost(told.job(), "overload")
    assert told.end() == [("end", 0, "camera_lost")]
    assert told.sink.events[0].record is None
    assert told.story.totals()[0].skipped == {"overload": 1}


def test_a_person_of_whom_no_face_is_usable_has_an_end_alone():
    told = Told()
    told.look("door/1/1", skip="too_small")
    told.story.left("door/1/1", "left")
    assert told.end() == [("end", 0, "left")]


def test_counts_add_up():
    told = Told()
    told.look(None)
    told.look("door/1/1", skip="pose")
    told.look("door/1/1", "door/1/2")
    told.answer(70, depth=5)
    told.answer(None, "door/1/2", code="not_finite")
    told.look("door/1/1")
    told.answer(71, depth=6, late=True)
    told.end()
    counts, latency = told.story.totals()
    assert (counts.found, counts.scored, counts.misses) == (5, 2, 1)
    assert counts.skipped == {"unconfirmed": 1, "pose": 1, "not_finite": 1}
    assert counts.found == counts.scored + sum(counts.skipped.values())
    assert counts.depths == {5: 1, 6: 1}
    assert counts.events == {"new": 1, "end": 2}
    assert latency is not None
    assert counts.energy_mj is None


def test_energy_is_summed_where_it_is_known(monkeypatch):
    told = Told()
    told.look("door/1/1")
    told.look("door/1/1")
    for mj in (2.5, 4.0):
        found = msgspec.structs.replace(record(50), cost=Cost(1.0, 1.0, mj))
        told.story.answered(told.job(), found, time.monotonic())
    told.end()
    assert told.story.totals()[0].energy_mj == pytest.approx(6.5)


def test_good_shots_are_known_until_the_person_is_gone():
    told = Told(good=60)
    told.look("door/1/1")
    told.answer(61)
    told.look("door/1/2")
    told.answer(59, "door/1/2")
    told.story.left("door/1/2", "left")
    told.story.start()
    until(lambda: told.sink.of("end"))
    assert told.story.good == {"door/1/1"}
    told.story.finish(10)
    assert told.story.good == set()


def test_warnings_see_a_few_faces_of_everybody():
    told = Told()
    for _ in range(9):
        told.look("door/1/1")
        told.answer(50)
    told.look("door/1/2")
    told.answer(50, "door/1/2")
    told.end()
    assert len(told.shown) == 5 + 1
