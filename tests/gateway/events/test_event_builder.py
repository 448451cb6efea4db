"""How what was seen and scored becomes events and counts, step by step."""

import time

import msgspec
import numpy as np
import pytest

from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.config.gateway import BestShotConfig
from edge_fiqa.gateway.events.event import event_to_json
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.queue.detector_loop import FrameFaces
from edge_fiqa.gateway.queue.face_queue import QueuedFace
from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.gateway.video.camera import Frame
from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.record import Cost
from tests.gateway.fake_view import record
from tests.gateway.people import Collected
from tests.waiting import until

CROP = np.zeros((112, 112, 3), np.uint8)
PICTURE = np.zeros((50, 40, 3), np.uint8)
BOX = (1.0, 2.0, 30.0, 40.0)
POINTS = ((1.0, 1.0),) * 5


class Run:
    """An event builder, what is reported to it, and the events that it makes."""

    def __init__(self, **best_shot):
        self.sink, self.shown = Collected(), []
        config = BestShotConfig(**{"clearly": 5, **best_shot})
        self.builder = EventBuilder(
            config, [self.sink], lambda camera, crop, record: self.shown.append(camera)
        )
        self.frames = 0

    def see(self, *tracks, skip=None, zones=(), required=(), instruction=None):
        self.frames += 1
        frame = Frame("door", self.frames, PICTURE, time.monotonic(), 1000.0 + self.frames)
        crop = None if skip else CROP
        face = SeenFace(BOX, POINTS, 0.9, crop, skip, zones=zones, instruction=instruction)
        faces = [face] * len(tracks)
        self.builder.frame_seen(FrameFaces(frame, faces, list(tracks), frozenset(required)))

    def face(self, track="door/1/1", late=False, detector_score=0.9):
        now = time.monotonic()
        face = FaceCrop("a", "door", CROP, BOX, POINTS)
        deadline = now + (-1 if late else 9)
        return QueuedFace(
            face, now, deadline, 1000.0, "door", track, PICTURE, detector_score=detector_score
        )

    def answer(self, scalar, track="door/1/1", late=False, detector_score=0.9, **more):
        reasons = more.pop("reasons", None)
        scored = record(scalar, **more)
        scored = msgspec.structs.replace(scored, frame_time=None, reasons=reasons)
        face = self.face(track, late, detector_score)
        self.builder.face_scored(face, scored, time.monotonic())

    def end(self):
        self.builder.start()
        self.builder.finish(10)
        return [(event.type, event.sequence, event.reason) for event in self.sink.events]


def test_new_update_end():
    run = Run()
    for quality in (40, 43, 50):
        run.see("door/1/1")
        run.answer(quality)
    run.builder.person_left("door/1/1", "left")
    assert run.end() == [("new", 0, None), ("update", 1, None), ("end", 2, "left")]
    first, second, end = run.sink.events
    assert (first.record.quality.scalar, second.record.quality.scalar) == (40, 50)
    assert (end.faces_seen, end.faces_scored, end.record.quality.scalar) == (3, 3, 50)
    assert end.record.frame_time == 1000.0
    assert (first.started, first.box) == (1001.0, (80.0, 40.0, 90.0, 110.0))
    assert run.sink.snapshots[0][:2] == b"\xff\xd8"


BLURRED = Reasons("hold still", (ReportedCause("motion_blur", "Sharpness", 9),), {})


def test_events_and_tracks_carry_the_reasons_of_the_best_shot():
    run = Run()
    run.see("door/1/1")
    run.answer(40, reasons=BLURRED)
    run.answer(35)
    run.end()
    assert [event.record.reasons for event in run.sink.events] == [BLURRED, BLURRED]
    sent = msgspec.json.decode(event_to_json(run.sink.events[0]))
    assert sent["record"]["reasons"]["reported"][0]["cause"] == "motion_blur"
    (track,) = run.builder.tracks()
    assert track.record.reasons == BLURRED


def test_a_face_in_the_picture_has_the_instruction_of_the_last_answer():
    run = Run(good=60)
    run.builder.start()

    def instruction():
        return [face.instruction for face in run.builder.faces("door")]

    run.see("door/1/1")
    until(lambda: instruction() == [None])  # not scored yet
    run.answer(40, reasons=BLURRED, accepted=False)
    until(lambda: instruction() == ["hold still"])
    run.answer(30, reasons=msgspec.structs.replace(BLURRED, instruction="come closer"))
    until(lambda: instruction() == ["come closer"])
    run.answer(30)
    until(lambda: instruction() == [None])
    run.builder.finish(10)


def test_a_face_that_is_not_scored_has_the_instruction_about_its_pose():
    run = Run(good=60)
    run.builder.start()

    def shown():
        return [(face.instruction, face.quality) for face in run.builder.faces("door")]

    run.see("door/1/1", skip="pose", instruction="look straight into the camera")
    until(lambda: shown() == [("look straight into the camera", None)])
    run.see("door/1/1")
    until(lambda: shown() == [(None, None)])
    run.answer(40, reasons=BLURRED, accepted=False)
    until(lambda: shown() == [("hold still", 40)])
    run.see("door/1/1", skip="pose", instruction="look straight into the camera")
    until(lambda: shown() == [("look straight into the camera", 40)])
    run.see("door/1/1")
    until(lambda: shown() == [("hold still", 40)])
    run.answer(60)
    run.see("door/1/1", skip="pose", instruction="look straight into the camera")
    until(lambda: shown() == [(None, 60)])
    run.builder.finish(10)


@pytest.mark.parametrize(("scalar", "accepted"), [(60, None), (40, True)])
def test_who_has_a_good_or_an_accepted_shot_gets_no_instruction(scalar, accepted):
    run = Run(good=60)
    run.builder.start()
    run.see("door/1/1")
    run.answer(20, reasons=BLURRED, accepted=False)
    until(lambda: [face.instruction for face in run.builder.faces("door")] == ["hold still"])
    run.answer(scalar, accepted=accepted)
    run.answer(21, reasons=BLURRED, accepted=False)
    until(lambda: [face.quality for face in run.builder.faces("door")] == [21])
    assert [face.instruction for face in run.builder.faces("door")] == [None]
    run.builder.finish(10)


def test_a_face_below_the_floor_is_no_news():
    """The back of a head is followed and counted, and no event or picture shows it."""
    run = Run(floor=3)
    for quality in (2, 0, 2):
        run.see("door/1/1")
        run.answer(quality)
    run.builder.person_left("door/1/1", "left")
    assert run.end() == [("end", 0, "left")]
    (end,) = run.sink.events
    assert end.record is None
    assert (end.faces_seen, end.faces_scored) == (3, 3)
    assert run.sink.snapshots == [None]


def test_a_face_at_the_floor_is_the_first_of_its_person():
    run = Run(floor=3)
    for quality in (2, 3):
        run.see("door/1/1")
        run.answer(quality)
    run.builder.person_left("door/1/1", "left")
    assert run.end() == [("new", 0, None), ("end", 1, "left")]
    assert run.sink.events[0].record.quality.scalar == 3


@pytest.mark.parametrize(
    ("quality", "detector_score", "is_news"),
    [(4, 0.9, True), (4, 0.8, False), (9, 0.83, False), (10, 0.8, True), (2, 0.9, False)],
)
def test_a_face_that_the_detector_is_unsure_of_needs_more_quality(quality, detector_score, is_news):
    """Backs of heads reach quality 4 and a score of 0.83; a walking person's face 4 and 0.89."""
    run = Run(floor=3, unsure_floor=10)
    run.see("door/1/1")
    run.answer(quality, detector_score=detector_score)
    run.builder.person_left("door/1/1", "left")
    assert [kind for kind, _, _ in run.end()] == ["new", "end"][not is_news :]


def test_the_floor_of_unsure_faces_is_never_below_the_other():
    assert BestShotConfig(floor=20).floor_of(0.7) == 20


def test_the_end_waits_for_the_last_answer():
    run = Run()
    run.see("door/1/1")
    run.see("door/1/1")
    run.builder.person_left("door/1/1", "left")
    run.answer(40)
    run.answer(90)
    assert [kind for kind, _, _ in run.end()] == ["new", "update", "end"]


def test_the_end_waits_for_the_last_loss_as_well():
    run = Run()
    run.see("door/1/1")
    run.builder.person_left("door/1/1", "camera_lost")
    run.builder.face_lost(run.face(), "overload")
    assert run.end() == [("end", 0, "camera_lost")]
    assert run.sink.events[0].record is None
    assert run.builder.totals()[0].skipped == {"overload": 1}


def test_the_end_of_a_track_that_no_look_showed_is_nothing():
    run = Run()
    run.builder.person_left("door/1/9", "left")
    run.see("door/1/1")
    run.answer(40)
    run.builder.person_left("door/1/1", "stationary")
    assert run.end() == [("new", 0, None), ("end", 1, "stationary")]


def test_events_name_the_zones_in_the_order_of_entering_them():
    run = Run()
    for quality, zones in ((40, ("street",)), (50, ("street", "path")), (90, ("door",))):
        run.see("door/1/1", zones=zones)
        run.answer(quality)
    run.builder.person_left("door/1/1", "left")
    run.end()
    assert [event.zones for event in run.sink.events] == [
        ("street",),
        ("street", "path"),
        ("street", "path", "door"),
        ("street", "path", "door"),
    ]


def test_nobody_hears_of_a_person_before_a_required_zone():
    """The best face from before the zone is the first event."""
    run = Run()
    for quality in (40, 70, 60):
        run.see("door/1/1", zones=("street",), required=("path", "door"))
        run.answer(quality)
    run.builder.start()
    until(lambda: run.builder.totals()[0].scored == 3)
    assert run.sink.events == []
    assert run.builder.tracks() == []
    assert run.builder.people("door") == 0
    assert run.builder.snapshot("door/1/1") is None
    assert run.builder.faces("door") == []
    run.see("door/1/1", zones=("door",), required=("path", "door"))
    run.builder.face_lost(run.face(), "overload")
    until(lambda: run.sink.events)
    assert run.builder.people("door") == 1
    assert [face.track for face in run.builder.faces("door")] == ["door/1/1"]
    assert run.builder.tracks()[0].zones == ("street", "door")
    run.see("door/1/1", zones=(), required=("path", "door"))
    run.answer(72)
    run.builder.person_left("door/1/1", "left")
    run.builder.finish(10)
    new, end = run.sink.events
    assert (new.type, new.record.quality.scalar, new.zones) == ("new", 70, ("street", "door"))
    assert run.sink.snapshots[0][:2] == b"\xff\xd8"
    assert (end.type, end.sequence, end.record.quality.scalar) == ("end", 1, 72)


def test_the_list_of_faces_names_nobody_who_is_not_announced():
    """Neither those who are not followed yet. Without required zones it has all faces."""
    run = Run()
    run.builder.start()
    run.see("door/1/1", None, zones=("street",))
    until(lambda: [face.track for face in run.builder.faces("door")] == ["door/1/1", ""])
    run.see("door/1/2", None, zones=("street",), required=("path",))
    until(lambda: run.builder.faces("door") == [])
    run.builder.finish(10)


def test_who_was_in_no_required_zone_leaves_without_a_word():
    run = Run()
    run.see("door/1/1", "door/1/2", zones=("street",), required=("door",))
    run.answer(40)
    run.answer(50, track="door/1/2")
    run.builder.person_left("door/1/1", "left")
    assert run.end() == []
    assert run.builder.totals()[0].events.total() == 0
    assert run.builder.tracks() == []


def test_in_a_required_zone_without_a_usable_face_there_is_an_end_alone():
    run = Run()
    run.see("door/1/1", skip="pose", zones=("door",), required=("door",))
    run.builder.person_left("door/1/1", "left")
    assert run.end() == [("end", 0, "left")]


def test_people_who_are_followed_count_whether_they_can_be_scored_or_not():
    run = Run()
    run.builder.start()
    run.see("door/1/1", skip="too_small")
    run.see("door/1/1", "door/1/2", skip="pose")
    until(lambda: run.builder.people("door") == 2)
    assert run.builder.people("hall") == 0
    run.see("door/1/3")  # a face of theirs is in the queue when they leave
    run.builder.person_left("door/1/1", "left")
    run.builder.person_left("door/1/3", "left")
    until(lambda: run.builder.people("door") == 1)
    run.builder.finish(10)


def test_a_person_of_whom_no_face_is_usable_has_an_end_alone():
    run = Run()
    run.see("door/1/1", skip="too_small")
    run.builder.person_left("door/1/1", "left")
    assert run.end() == [("end", 0, "left")]


def test_counts_add_up():
    run = Run()
    run.see(None)
    run.see("door/1/1", skip="pose")
    run.see("door/1/1", "door/1/2")
    run.answer(70, depth=5)
    run.answer(None, "door/1/2", code="not_finite")
    run.see("door/1/1")
    run.answer(71, depth=6, late=True)
    run.end()
    counts, latency = run.builder.totals()
    assert (counts.detected, counts.scored, counts.misses) == (5, 2, 1)
    assert counts.skipped == {"unconfirmed": 1, "pose": 1, "not_finite": 1}
    assert counts.detected == counts.scored + sum(counts.skipped.values())
    assert counts.depths == {5: 1, 6: 1}
    assert counts.events == {"new": 1, "end": 2}
    assert latency is not None
    assert counts.energy_mj is None


def test_energy_is_summed_where_it_is_known(monkeypatch):
    run = Run()
    run.see("door/1/1")
    run.see("door/1/1")
    for mj in (2.5, 4.0):
        scored = msgspec.structs.replace(record(50), cost=Cost(1.0, 1.0, mj))
        run.builder.face_scored(run.face(), scored, time.monotonic())
    run.end()
    assert run.builder.totals()[0].energy_mj == pytest.approx(6.5)


def test_good_shots_are_known_until_the_person_is_gone():
    run = Run(good=60)
    run.see("door/1/1")
    run.answer(61)
    run.see("door/1/2")
    run.answer(59, "door/1/2")
    run.builder.person_left("door/1/2", "left")
    run.builder.start()
    until(lambda: run.sink.of("end"))
    assert run.builder.good_tracks == {"door/1/1"}
    run.builder.finish(10)
    assert run.builder.good_tracks == set()


def test_warnings_see_a_few_faces_of_everybody():
    run = Run()
    for _ in range(9):
        run.see("door/1/1")
        run.answer(50)
    run.see("door/1/2")
    run.answer(50, "door/1/2")
    run.end()
    assert len(run.shown) == 5 + 1
