"""A pushed picture whose faces are not all answered before their deadline."""

import time
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import msgspec
import numpy as np
import pytest
from starlette.testclient import TestClient

from edge_fiqa import Scorer
from edge_fiqa.errors import EngineFailed, Overloaded
from edge_fiqa.faces.images import decode
from edge_fiqa.gateway.config.gateway import BestShotConfig
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.queue.schedule import Grant
from edge_fiqa.gateway.service import pushed_faces
from edge_fiqa.gateway.service.app import Gateway
from edge_fiqa.gateway.service.pushed_faces import PushedFaces
from tests.gateway.fake_view import record
from tests.gateway.people import FindSquares, configured, open_script, picture
from tests.published import GRACE
from tests.waiting import until

THREE = picture(10, 100, 200)
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


def dropping(numbers):
    """A strategy that drops the faces with these numbers, in the order of their arrival."""

    def strategy(now, waiting, speed, demand):
        known = [face.id for face in waiting]
        return Grant(
            tuple(number for number in known if number not in numbers),
            speed.exits[-1],
            dropped=tuple(number for number in known if number in numbers),
        )

    return strategy


@pytest.fixture
def gateway(bundle):
    scorer = Scorer.open(bundle, backend="ov", threads=1, gate=30)
    config = configured(http={"port": 0}, best_shot={"gate": 30})
    gateway = Gateway(config, [], [scorer], open_script({}), lambda config: FindSquares())
    gateway.start()
    yield gateway
    gateway.stop()


def test_a_face_that_is_too_late_has_a_record_that_says_so(gateway):
    gateway.queue.strategy = dropping({1})
    first, late, last = gateway.view.push(THREE, None, 60.0)
    assert [face.quality.code for face in (first, late, last)] == ["ok", "timeout", "ok"]
    assert [face.id for face in (first, late, last)] == ["push#0", "push#1", "push#2"]
    assert (late.quality.scalar, late.quality.raw, late.exit.depth) == (None, None, None)
    assert late.box == (100.0, 40.0, 40.0, 40.0)
    assert late.quality.algorithm == first.quality.algorithm
    assert len(late.exit.scores) == len(first.exit.scores)
    assert (late.decision.gate, late.decision.accepted) == (30, False)
    assert late.warnings == ("the answer would come after its deadline",)
    assert late.frame_time == first.frame_time
    until(lambda: gateway.view.totals().faces_scored == 2)
    totals = gateway.view.totals()
    assert (totals.faces_found, totals.skipped, totals.misses) == (3, {"overload": 1}, 0)


def test_aligned_crops_are_scored_together_and_in_order(gateway):
    crops = np.stack([np.full((112, 112, 3), value, np.uint8) for value in (20, 90, 160, 230)])
    together = gateway.view.push_crops(crops)
    singly = [gateway.view.push(crop, None, None)[0] for crop in crops]
    assert [r.quality.code for r in together] == ["ok"] * 4
    assert [r.quality.raw for r in together] == pytest.approx(
        [r.quality.raw for r in singly], abs=1e-3
    )
    gateway.queue.strategy = dropping({9})  # the second of these
    gateway.queue._next = 8
    with pytest.raises(Overloaded):
        gateway.view.push_crops(crops)


def test_without_any_answer_in_time_the_push_is_refused(gateway):
    gateway.queue.strategy = dropping({0, 1, 2})
    client = TestClient(make_app(gateway.view, HttpConfig(), [], None), base_url="http://127.0.0.1")
    body = cv2.imencode(".png", THREE)[1].tobytes()
    refused = client.post("/api/faces", content=body)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    answered = client.post("/api/faces?deadline_ms=10000", content=body)
    assert [face["quality"]["code"] for face in answered.json()] == ["ok"] * 3
    until(lambda: gateway.view.totals().faces_scored == 3)
    assert gateway.view.totals().skipped == {"overload": 3}


class PlannedQueue:
    """A queue whose faces are answered as a test plans: one function for each face."""

    def __init__(self, *answers):
        self.answers, self.faces = answers, []

    def put(self, face):
        self.answers[len(self.faces)](face)
        self.faces.append(face)


@pytest.fixture
def events():
    events = EventBuilder(BestShotConfig(), [])
    events.start()
    yield events
    events.finish(5)


def pushed_to(queue, events):
    def refused(face):
        return msgspec.structs.replace(record(code=face.code), id=face.id, warnings=(face.reason,))

    return PushedFaces(queue, events, refused, FindSquares(), 10.0, 5.0)


def never(face):
    """No worker gets to it before the deadline."""


def test_a_face_scored_after_its_sender_went_counts_as_a_miss(events, monkeypatch):
    monkeypatch.setattr(pushed_faces, "GRACE_S", 0.0)
    queue = PlannedQueue(
        lambda face: events.face_scored(face, record(), face.arrived), never, never
    )
    records = pushed_to(queue, events).push(THREE, None, 0.01)
    assert [face.quality.code for face in records] == ["ok", "timeout", "timeout"]
    for face in queue.faces[1:]:
        events.face_scored(face, record(), time.monotonic())
    until(lambda: events.totals()[0].scored == 3)
    counts, _ = events.totals()
    assert (counts.detected, counts.misses, dict(counts.skipped)) == (3, 2, {})


def test_faces_that_nobody_gets_to_in_time_are_refused(events, monkeypatch):
    monkeypatch.setattr(pushed_faces, "GRACE_S", 0.0)
    with pytest.raises(Overloaded, match="after its deadline"):
        pushed_to(PlannedQueue(never, never, never), events).push(THREE, None, 0.01)


def test_an_engine_that_failed_is_no_timeout(events):
    queue = PlannedQueue(
        lambda face: events.face_scored(face, record(), face.arrived),
        lambda face: events.face_lost(face, "overload"),
        lambda face: events.face_lost(face, "engine"),
    )
    with pytest.raises(EngineFailed):
        pushed_to(queue, events).push(THREE, None, None)


def test_a_face_that_is_too_small_stays_so_without_time(events):
    """Nothing of it is scored, and asking again would not help."""

    class FindSmall(FindSquares):
        def find(self, image):
            first, second = super().find(image)
            return [first, replace(second, crop=None, skip="too_small")]

    queue = PlannedQueue(
        lambda face: events.face_scored(face, record(), face.arrived),
        lambda face: events.face_lost(face, "overload"),
    )
    pushed = pushed_to(queue, events)
    pushed.finder = FindSmall()
    records = pushed.push(picture(10, 100), None, None)
    assert [face.quality.code for face in records] == ["ok", "too_small"]


def test_a_pushed_face_that_the_border_cuts_says_so_in_its_record(gateway):
    portrait, points = decode(PORTRAIT), [tuple(point) for point in GRACE]
    (whole,) = gateway.view.push(portrait, points, 60.0)
    assert whole.warnings == ()
    right = int(max(x for x, _ in GRACE))
    cut = np.ascontiguousarray(portrait[:, : right + 8])
    (face,) = gateway.view.push(cut, points, 60.0)
    assert face.quality.code == "ok"
    assert any(said.startswith("face cut by the picture's border (") for said in face.warnings)
    cut = np.ascontiguousarray(
        portrait[:, : right - 8]
    )  # without an eye's centre and a mouth corner
    (face,) = gateway.view.push(cut, points, 60.0)
    assert any(said.startswith("face cut by the picture's border (") for said in face.warnings)
