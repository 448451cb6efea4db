"""The whole gateway with real scoring: cameras and faces are planned, everything between is its own."""

from collections import Counter

import cv2
import numpy as np
import pytest

from edge_fiqa import Scorer
from edge_fiqa.errors import ConfigError, EngineFailed, Overloaded
from edge_fiqa.gateway.queue.detector_loop import CAMERA_CHECK_S
from edge_fiqa.gateway.queue.face_queue import FaceQueue
from edge_fiqa.gateway.service.app import Gateway
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.gateway.people import (
    LONG,
    Collected,
    FindSquares,
    Script,
    configured,
    open_script,
    picture,
    walk,
)
from tests.published import ARCFACE
from tests.waiting import until


@pytest.fixture
def gateway_of(bundle):
    """Opens gateways and closes them after the test."""
    running = []

    def make(config, scripts, find=True, sink=None):
        sink = sink or Collected()
        gateway = Gateway(
            config,
            [sink],
            [Scorer.open(bundle, backend="ov", threads=1, gate=config.best_shot.gate)],
            open_script(scripts),
            find if callable(find) else lambda config: FindSquares() if find else None,
        )
        running.append(gateway)
        gateway.start()
        return gateway, sink

    yield make
    for gateway in running:
        gateway.stop()


def whole(sink):
    """Every track: sequences 0, 1, 2 ..., one `end`, at the end."""
    tracks = {}
    for event in sink.events:
        tracks.setdefault(event.track, []).append(event)
    for events in tracks.values():
        assert [event.sequence for event in events] == list(range(len(events)))
        assert [event.type for event in events].count("end") == 1
        assert events[-1].type == "end"
    assert len({event.id for event in sink.events}) == len(sink.events)
    return tracks


def test_a_person_who_walks_by(gateway_of):
    gateway, sink = gateway_of(configured("door"), {"door": Script([walk(30)])})
    until(lambda: sink.of("end"))
    (events,) = whole(sink).values()
    assert events[0].type == "new"
    end = events[-1]
    assert end.reason == "left"
    assert end.faces_seen >= 20
    qualities = [event.record.quality.scalar for event in events]
    assert qualities == sorted(qualities)
    assert events[0].latency_s is not None
    assert 0 <= events[0].latency_s < 5
    assert end.record.exit.depth == 4
    assert end.record.frame_time == pytest.approx(end.time, abs=20)
    assert sink.snapshots[0].startswith(b"\xff\xd8")
    assert sink.snapshots[-1] is None
    totals = gateway.view.totals()
    until(lambda: gateway.view.cameras()[0].state == "ended")
    assert totals.faces_found == totals.faces_scored + sum(totals.skipped.values())
    assert totals.skipped == {"unconfirmed": 1}
    assert totals.depths == [0, 0, 0, totals.faces_scored]
    assert totals.events == Counter(event.type for event in sink.events)
    (track,) = gateway.view.tracks()
    assert (track.open, track.camera, track.record) == (False, "door", end.record)
    assert gateway.view.snapshot(track.id).startswith(b"\xff\xd8")
    assert gateway.view.frame("door").startswith(b"\xff\xd8")
    assert gateway.view.frame("nowhere") is None


def test_two_people_at_once_are_two_tracks(gateway_of):
    frames = [picture(10 + 5 * n, 340 - 5 * n) for n in range(20)]
    _, sink = gateway_of(configured("door"), {"door": Script([frames])})
    until(lambda: len(sink.of("end")) == 2)
    assert len(whole(sink)) == 2


def test_faces_of_a_track_have_the_name_of_one_person(gateway_of, monkeypatch):
    """By that name audits count a person once."""
    faces, put = [], FaceQueue.put
    monkeypatch.setattr(
        FaceQueue, "put", lambda queue, face: (faces.append(face), put(queue, face))[1]
    )
    gateway_of(configured("door"), {"door": Script([[picture(10, 300)] * LONG])})
    until(lambda: len(faces) > 10)
    assert all(face.input.person == face.track is not None for face in faces)


def test_stopping_ends_every_track(gateway_of):
    here = Script([[picture(100)] * LONG])
    patient = configured("door", lost_s=30, stale_s=30)  # nobody leaves while the machine is busy
    gateway, sink = gateway_of(patient, {"door": here})
    until(lambda: sink.of("new"))
    gateway.stop()
    (events,) = whole(sink).values()
    assert events[-1].reason == "shutdown"
    assert events[-1].record is not None
    assert gateway.view.ready() is not None


def test_a_lost_camera_costs_the_others_nothing(gateway_of):
    scripts = {
        "gone": Script([[picture(100)] * 20 + ["the cable was cut"]]),
        "stuck": Script([[picture(200)] * 20 + ["hang"]]),
        "fine": Script([[picture(50)] * LONG]),
    }
    gateway, sink = gateway_of(configured(*scripts), scripts)

    def states():
        return {camera.name: camera.state for camera in gateway.view.cameras()}

    until(lambda: states() == {"gone": "failed", "stuck": "stale", "fine": "live"})
    until(lambda: len(sink.of("end")) == 2)
    assert {(e.camera, e.reason) for e in sink.of("end")} == {
        ("gone", "camera_lost"),
        ("stuck", "camera_lost"),
    }
    before = gateway.view.totals().faces_scored
    until(lambda: gateway.view.totals().faces_scored > before)
    assert gateway.view.ready() is None
    gone = gateway.view.cameras()[0]
    assert gone.warnings[0] in ("the cable was cut", "nobody answers")
    scripts["stuck"].go_on.set()
    gateway.stop()
    whole(sink)


def test_a_reload_takes_up_the_threads_of_the_detector(gateway_of):
    """They are one setting of OpenCV's for the whole process."""
    before = cv2.getNumThreads()
    try:
        for threads in (3, 2):
            detector = {"model": "squares.onnx", "threads": threads}
            if threads == 3:
                gateway, _ = gateway_of(configured(http={"port": 0}, detector=detector), {})
            else:
                assert gateway.reload(configured(http={"port": 0}, detector=detector)) == []
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)


def test_a_reload_that_is_refused_leaves_the_threads_as_they_are(gateway_of):
    before = cv2.getNumThreads()

    def find(config):
        if config.detector.threads == 3:
            raise ConfigError("no such detector")
        return FindSquares()

    def with_threads(threads):
        return configured(http={"port": 0}, detector={"model": "x.onnx", "threads": threads})

    try:
        gateway, _ = gateway_of(with_threads(2), {}, find=find)
        with pytest.raises(ConfigError, match="no such detector"):
            gateway.reload(with_threads(3))
        assert (cv2.getNumThreads(), gateway.config.detector.threads) == (2, 2)
    finally:
        cv2.setNumThreads(before)


def test_a_camera_that_comes_back_goes_on_with_its_numbers(gateway_of):
    """An id is given once in a run."""
    patient = {"lost_s": 30, "stale_s": 30}
    script = Script([[picture(100)] * LONG] * 3)
    gateway, sink = gateway_of(configured("door", **patient), {"door": script})
    until(lambda: len(sink.of("new")) == 1)
    gateway.reload(configured(http={"port": 0}, **patient))
    until(lambda: len(sink.of("end")) == 1)
    gateway.reload(configured("door", **patient))
    until(lambda: len(sink.of("new")) == 2)
    gateway.stop()
    assert len(whole(sink)) == 2


LEFT = [[0, 0], [0.3, 0], [0.3, 1], [0, 1]]
RIGHT = [[0.4, 0], [1, 0], [1, 1], [0.4, 1]]


def test_masks_and_zones_are_taken_up_while_the_camera_stays_open(gateway_of):
    """Of two people one is masked; then both are seen, and one is in a zone that is asked for."""
    here = Script([[picture(40, 190)] * LONG])
    patient = {"lost_s": 30, "stale_s": 30}
    gateway, sink = gateway_of(
        configured("door", camera={"masks": [LEFT]}, **patient), {"door": here}
    )
    until(lambda: sink.of("new"))
    assert [event.box[0] for event in sink.events] == [190]
    assert len(gateway.view.cameras()[0].masks) == 1
    zones = {"zones": {"left": LEFT, "right": RIGHT}, "required_zones": ["left"]}
    assert gateway.reload(configured("door", camera=zones, **patient)) == []
    until(lambda: len(sink.of("new")) == 2)
    assert (sink.of("new")[1].box[0], sink.of("new")[1].zones) == (40, ("left",))
    (camera,) = gateway.view.cameras()
    until(
        lambda: {face.zones for face in gateway.view.cameras()[0].faces} == {("left",), ("right",)}
    )
    assert (list(camera.zones), list(camera.masks)) == (["left", "right"], [])
    assert here.opened == 1
    gateway.stop()
    assert len(whole(sink)) == 2


def test_a_reload_keeps_the_tracks_of_cameras_that_stay(gateway_of):
    scripts = {name: Script([[picture(100)] * LONG] * 3) for name in ("stays", "goes", "comes")}
    slow = scripts["stays"]  # to show its first picture, once it is opened again
    slow.plays[1] = ["hang", *([picture(100)] * LONG)]
    patient = {"lost_s": 60, "stale_s": 300}  # nobody leaves while the machine is busy
    gateway, sink = gateway_of(configured("stays", "goes", **patient), scripts)
    until(lambda: len(sink.of("new")) == 2)
    stays = next(event.track for event in sink.of("new") if event.camera == "stays")
    assert gateway.reload(configured("stays", "comes", workers=2, **patient)) == ["workers"]
    until(lambda: len(sink.of("new")) == 3)
    assert [(e.camera, e.reason) for e in sink.of("end")] == [("goes", "camera_lost")]
    changed = configured("stays", "comes", fps=20, best_shot={"gate": 0, "clearly": 1}, **patient)
    assert gateway.reload(changed) == []
    until(lambda: slow.opened == 2)
    loop = gateway._detector_loop
    checked = loop._checked
    until(lambda: loop._checked > checked + CAMERA_CHECK_S)
    assert [e.camera for e in sink.of("end")] == ["goes"]
    slow.go_on.set()
    seen = {t.id: t for t in gateway.view.tracks()}[stays].seen
    until(lambda: {t.id: t for t in gateway.view.tracks()}[stays].seen > seen)
    assert {t.id for t in gateway.view.tracks() if t.open and t.camera == "stays"} == {stays}
    gateway.stop()
    whole(sink)


def test_a_new_gate_is_taken_up_while_running(gateway_of):
    scripts = {"door": Script([[picture(100)] * LONG])}
    gateway, _ = gateway_of(configured("door"), scripts)
    face = synthetic_faces(1)[0]
    assert gateway.view.push(face, None, 5.0)[0].decision.gate is None
    gateway.reload(configured("door", best_shot={"gate": 30}))
    until(lambda: gateway.view.push(face, None, 5.0)[0].decision.gate == 30)
    gateway.reload(configured("door", best_shot={"gate": 30}, schedule={"policy": "gate"}))
    until(lambda: gateway.view.push(face, None, 5.0)[0].decision.risk is not None)


def test_a_worker_that_cannot_take_up_a_gate_scores_as_before(gateway_of, monkeypatch, caplog):
    gateway, _ = gateway_of(configured("door"), {"door": Script([[picture(100)] * LONG])})
    face, (scorer,) = synthetic_faces(1)[0], gateway.scoring.scorers

    def fails(segments=None, faces=None):
        raise EngineFailed("building body-01-01 was killed")

    monkeypatch.setattr(scorer.engine, "prepare", fails)
    for times, gate in enumerate((30, 35), 1):
        gateway.reload(configured("door", best_shot={"gate": gate}))
        until(lambda times=times: caplog.text.count("keeps its gate and policy: building") == times)
    assert gateway.view.push(face, None, 5.0)[0].decision.gate is None
    monkeypatch.undo()
    gateway.reload(configured("door", best_shot={"gate": 40}))
    until(lambda: gateway.view.push(face, None, 5.0)[0].decision.gate == 40)


def test_pushed_faces(gateway_of):
    gateway, sink = gateway_of(configured(http={"port": 0}), {}, find=False)
    push, face = gateway.view.push, synthetic_faces(1)[0]
    (record,) = push(face, None, None)
    assert (record.quality.code, record.exit.depth) == ("ok", 4)
    points = [tuple(2 * p) for p in ARCFACE]
    large = np.kron(face, np.ones((2, 2, 1), np.uint8))
    assert push(large, points, None)[0].landmarks == tuple(points)
    (small,) = push(large, [tuple(p / 20) for p in ARCFACE], None)
    assert (small.quality.code, small.quality.scalar) == ("too_small", None)
    with pytest.raises(ConfigError, match="no detector"):
        push(large, None, None)
    with pytest.raises(Overloaded):
        push(face, None, 1e-6)
    until(lambda: gateway.view.totals().skipped == {"too_small": 1, "overload": 1})
    assert gateway.view.totals().faces_found == 4
    assert sink.events == []


def test_pictures_are_searched_where_there_is_a_detector(gateway_of):
    gateway, _ = gateway_of(configured(http={"port": 0}), {})
    assert len(gateway.view.push(picture(10, 100, 200), None, None)) == 3
    (none,) = gateway.view.push(picture(), None, None)
    assert none.quality.code == "no_face"


def test_an_engine_that_fails_is_said_and_tried_again(gateway_of, monkeypatch):
    gateway, _ = gateway_of(configured(http={"port": 0}), {}, find=False)
    face = synthetic_faces(1)[0]
    worker = gateway.workers[0]
    working = worker.scores

    class Broken:
        def score(self, faces, policies):
            raise EngineFailed("the device fell off the bus")

    worker.scores = Broken()
    with pytest.raises(EngineFailed):
        gateway.view.push(face, None, 5.0)
    assert gateway.view.ready() == "the engine fails: the device fell off the bus"
    worker.scores = working
    until(lambda: _pushed(gateway, face))
    assert gateway.view.ready() is None


def _pushed(gateway, face):
    try:
        return gateway.view.push(face, None, 5.0)
    except EngineFailed:
        return None


def test_a_detector_that_fails_is_said_until_it_works_again(gateway_of, caplog):
    """On every frame it would leave a gateway that says it is ready, and is silent."""
    caplog.set_level("INFO", "edge_fiqa.gateway")

    class Detector(FindSquares):
        broken = True

        def find(self, image):
            if self.broken:
                raise EngineFailed("YuNet failed on a picture of 400x120")
            return super().find(image)

    detector, here = Detector(), Script([[picture(100)] * LONG])
    gateway, sink = gateway_of(configured("door"), {"door": here}, find=lambda _: detector)
    until(lambda: gateway.view.totals().detector_failures > 3)
    problem = "the detector fails: YuNet failed on a picture of 400x120"
    assert gateway.view.ready() == problem
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        f"{problem}; it is tried again with what comes next"
    ]
    detector.broken = False
    until(lambda: gateway.view.ready() is None)
    assert "the detector works again" in caplog.text
    until(lambda: sink.of("new"))
    failures = gateway.view.totals().detector_failures
    detector.broken = True
    until(lambda: gateway.view.ready() == problem)
    assert gateway.view.totals().detector_failures > failures
    gateway.reload(configured(http={"port": 0}))
    assert gateway.view.ready() is None
