"""The desk: who gets what, and that nobody is forgotten."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from edge_fiqa import Scorer
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue import face_queue as desk_module
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.schedule import Rules, Speed, decide
from edge_fiqa.gateway.queue.worker import granted_exits, measure_speed
from tests.waiting import until

SPEED = Speed((1, 2), (0.1, 0.2))
CROP = np.zeros((112, 112, 3), np.uint8)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def desk(clock, lost):
    strategy = partial(decide, rules=Rules(1, 1.0, 0.0, 1.0))
    return FaceQueue(
        SPEED, strategy, set(), lambda job, why: lost.append((job.face.id, why)), clock
    )


def job(name, *, arrived=100.0, within=1.0, track=None):
    return QueuedFace(FaceCrop(name, "a", CROP), arrived, arrived + within, 0.0, "a", track)


def names(taken):
    return [one.face.id for one in taken.jobs]


def test_the_most_urgent_of_all_cameras_is_next(desk):
    for name, within in (("a", 0.9), ("b", 0.5), ("c", 0.7)):
        desk.put(job(name, within=within))
    assert [names(desk.take()) for _ in range(3)] == [["b"], ["c"], ["a"]]
    assert desk.take() is None


def test_a_slow_machine_is_noticed(desk):
    desk.put(job("a", within=0.25))
    assert desk.take().exit == 2
    for _ in range(50):
        desk.took(1, 2, 0.4)  # twice what the table says
    desk.put(job("b", within=0.25))
    assert desk.take().exit == 1
    assert desk.load > 0


def test_lost_faces_are_told_with_the_reason(desk, lost):
    desk.good.add("known")
    desk.put(job("a", within=0.15))
    desk.put(job("b", within=0.15, track="known"))
    assert names(desk.take()) == ["a"]
    assert lost == [("b", "good_shot")]
    desk.put(job("late", arrived=90.0))
    assert desk.take() is None
    assert lost[1:] == [("late", "overload")]


def test_closed_it_takes_no_more_and_gives_what_it_has(desk, lost):
    desk.put(job("a"))
    desk.close()
    desk.put(job("b"))
    assert lost == [("b", "overload")]
    assert not desk.done
    assert names(desk.take()) == ["a"]
    assert desk.done
    assert desk.take() is None


def test_cleared_everything_is_lost(desk, lost):
    desk.put(job("a"))
    desk.close()
    desk.clear()
    assert (lost, desk.done) == ([("a", "overload")], True)


def test_it_is_bounded(desk, lost, monkeypatch):
    monkeypatch.setattr(desk_module, "MOST", 3)
    for number in range(5):
        desk.put(job(str(number), within=9.0))
    assert lost == [("3", "overload"), ("4", "overload")]


def test_a_free_worker_waits_for_the_next_face(desk):
    with ThreadPoolExecutor() as pool:
        taken = pool.submit(until, desk.take)
        desk.put(job("a"))
        assert names(taken.result()) == ["a"]


def test_speed_is_measured_for_the_exits_that_may_be_granted(bundle):
    with Scorer.open(bundle, backend="ov", threads=1) as scorer:
        exits = granted_exits(scorer, 2)
        speed = measure_speed(scorer, 3, exits)
    assert exits[-1] == 4
    assert min(exits) >= 2
    assert (speed.exits, speed.workers) == (exits, 3)
    assert list(speed.seconds) == sorted(speed.seconds)
    assert speed.seconds[0] > 0
    assert 0 <= speed.marginal <= 1
