"""The face queue: which face is taken when, and that none is forgotten."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from edge_fiqa import Scorer
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue import face_queue, worker
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.schedule import Rules, Speed, grant_depth
from edge_fiqa.gateway.queue.worker import grantable_exits, measure_speed
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
def queue(clock, lost):
    strategy = partial(grant_depth, rules=Rules(1, 1.0, 0.0, 1.0))
    return FaceQueue(
        SPEED, strategy, set(), lambda face, why: lost.append((face.input.id, why)), clock
    )


def face(name, *, arrived=100.0, within=1.0, track=None):
    return QueuedFace(FaceCrop(name, "a", CROP), arrived, arrived + within, 0.0, "a", track)


def names(taken):
    return [face.input.id for face in taken.faces]


def test_of_people_with_a_good_shot_one_face_an_interval_waits(queue, lost):
    queue.good_interval_s = 0.25
    queue.good_tracks.add("known")
    for k in range(5):
        queue.put(face(f"k{k}", arrived=100 + k / 10, track="known"))
        queue.put(face(f"n{k}", arrived=100 + k / 10, track="new"))
    assert lost == [(f"k{k}", "good_shot") for k in (1, 2, 4)]
    taken = [names(queue.take())[0] for _ in range(7)]
    assert sorted(taken) == ["k0", "k3", "n0", "n1", "n2", "n3", "n4"]


def test_a_face_that_found_no_room_holds_back_none(queue, lost, monkeypatch):
    monkeypatch.setattr(face_queue, "MOST_WAITING", 1)
    queue.good_interval_s = 60
    queue.good_tracks.add("known")
    queue.put(face("first", track="new"))
    queue.put(face("no room", track="known"))
    queue.take()
    queue.put(face("next", arrived=100.1, track="known"))
    assert lost == [("no room", "overload")]
    assert names(queue.take()) == ["next"]


def test_the_most_urgent_of_all_cameras_is_next(queue):
    for name, within in (("a", 0.9), ("b", 0.5), ("c", 0.7)):
        queue.put(face(name, within=within))
    assert [names(queue.take()) for _ in range(3)] == [["b"], ["c"], ["a"]]
    assert queue.take() is None


def test_a_slow_machine_is_noticed(queue):
    queue.put(face("a", within=0.25))
    assert queue.take().exit == 2
    for _ in range(50):
        queue.observe(1, 2, 0.4)  # twice what the table says
    queue.put(face("b", within=0.25))
    assert queue.take().exit == 1
    assert queue.load > 0


def test_lost_faces_are_told_with_the_reason(queue, lost):
    queue.good_tracks.add("known")
    queue.put(face("a", within=0.15))
    queue.put(face("b", within=0.15, track="known"))
    assert names(queue.take()) == ["a"]
    assert lost == [("b", "good_shot")]
    queue.put(face("late", arrived=90.0))
    assert queue.take() is None
    assert lost[1:] == [("late", "overload")]


def test_closed_it_takes_no_more_and_gives_what_it_has(queue, lost):
    queue.put(face("a"))
    queue.close()
    queue.put(face("b"))
    assert lost == [("b", "overload")]
    assert not queue.done
    assert names(queue.take()) == ["a"]
    assert queue.done
    assert queue.take() is None


def test_cleared_everything_is_lost(queue, lost):
    queue.put(face("a"))
    queue.close()
    queue.clear()
    assert (lost, queue.done) == ([("a", "overload")], True)


def test_it_is_bounded(queue, lost, monkeypatch):
    monkeypatch.setattr(face_queue, "MOST_WAITING", 3)
    for number in range(5):
        queue.put(face(str(number), within=9.0))
    assert lost == [("3", "overload"), ("4", "overload")]


def test_a_free_worker_waits_for_the_next_face(queue):
    with ThreadPoolExecutor() as pool:
        taken = pool.submit(until, queue.take)
        queue.put(face("a"))
        assert names(taken.result()) == ["a"]


def test_speed_is_measured_for_the_exits_that_may_be_granted(bundle):
    with Scorer.open(bundle, backend="ov", threads=1) as scorer:
        exits = grantable_exits(scorer, 2)
        speed = measure_speed(scorer, 3, exits)
    assert exits[-1] == 4
    assert min(exits) >= 2
    assert (speed.exits, speed.workers) == (exits, 3)
    assert list(speed.seconds) == sorted(speed.seconds)
    assert speed.seconds[0] > 0
    assert not speed.batches


class PlannedScorer:
    """A face takes 10 ms, alone or in a batch; other work of the machine makes most runs longer."""

    def __init__(self, delays_s, device="CUDA: a GPU"):
        self.now, self.delays_s, self.prepared = 0.0, delays_s, set()
        self.controller = SimpleNamespace(routes=lambda policies: [])
        self.engine = SimpleNamespace(prepare=lambda segments, sizes: None, device=device)

    def prepare(self, policies, faces):
        self.prepared.add(faces)

    def score(self, faces, policies):
        self.now += 0.01 * len(faces) + next(self.delays_s)


def test_a_busy_machine_makes_up_no_gain_of_batches(monkeypatch):
    """Of single faces most runs are disturbed, of batches none: a median would see a gain of a half."""
    disturbed, calm = [0.02] * 5 + [0.0, 0.02], [0.0] * 7
    scorer = PlannedScorer(iter(disturbed + disturbed + calm))
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: scorer.now))
    speed = measure_speed(scorer, 1, (4, 8))
    assert speed.marginal == pytest.approx(1.0)
    assert not speed.batches
    assert scorer.prepared == {1, 8}  # 8 to measure what a batch gains
    assert speed.seconds == pytest.approx((0.03, 0.03))  # as slow as it is now


def test_a_processor_prepares_no_batches(monkeypatch):
    """They take hundreds of megabytes, and a disturbed start made them look worth it."""
    scorer = PlannedScorer(iter([0.05] * 14), device="AMD EPYC with avx512_vnni")
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: scorer.now))
    speed = measure_speed(scorer, 1, (4, 8))
    assert (speed.marginal, speed.batches) == (1.0, False)
    assert scorer.prepared <= {1}
