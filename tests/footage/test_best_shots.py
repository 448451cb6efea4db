"""Persons of a video and their best faces, with planned detections and scores."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edge_fiqa.faces.detector import DetectedFace
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.footage.best_shots import NOT_CONFIRMED, BestShots
from edge_fiqa.footage.video_file import VideoFrame
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.record import Algorithm, Cost, Decision, Exit, Quality, Record
from edge_fiqa.types import IMAGE
from tests.gateway.people import FindSquares, picture
from tests.published import ARCFACE

ALGORITHM = Algorithm("planned", "0", "sha256:0")


@dataclass
class PlannedScores:
    """Crops are as good as they are bright, and doubtful where they are of an odd brightness."""

    seen: list[FaceCrop] = field(default_factory=list)

    def score(self, faces, policies):
        self.seen += faces
        return [self._record(face) for face in faces]

    def _record(self, face):
        value = int(face.crop.max())
        doubtful = ("does not look like an aligned crop",) if value % 2 else ()
        return Record(
            id=face.id,
            source=face.source,
            box=face.box,
            landmarks=face.landmarks,
            quality=Quality(min(value, 100), 0.0, None, "ok", ALGORITHM, "planned"),
            exit=Exit(12, "full", (0.0,), "FW"),
            cost=Cost(None, None, None),
            decision=Decision(None, None, None, None),
            warnings=(*face.warnings, *doubtful),
        )


def nothing(image):
    return []


def search(images, detect=nothing, times=None, lost_s=1.0, finder=None, scores=None):
    """All persons, in the order in which they left."""
    shots = BestShots(
        "video.mp4",
        finder or FindSquares(),
        detect,
        Tracker(lost_s),
        scores or PlannedScores(),
        [Fixed()],
        min_eye_px=10.0,
    )
    people = []
    for number, image in enumerate(images):
        time_s = number / 10 if times is None else times[number]
        people += shots.add(VideoFrame(number, time_s, image))
    return people + shots.end(), shots


def test_the_best_face_of_a_walk_with_its_time():
    """FindSquares makes crops of brightness x / 2, so the rightmost even one is the best."""
    places = [20 + 4 * number for number in range(20)] + [100 - 4 * number for number in range(10)]
    (person,), shots = search([picture(x) for x in places])
    assert person.shot.record.quality.scalar == 100 // 2
    assert places[person.shot.frame] == 100
    assert person.shot.record.frame_time == pytest.approx(person.shot.frame / 10)
    assert person.shot.record.id == f"video.mp4/{person.shot.frame}#0"
    assert (person.faces_seen, person.faces_scored, shots.unconfirmed) == (29, 29, 1)
    assert (person.first_s, person.last_s) == (0.1, 2.9)
    assert (person.shot.crop == 50).all()
    assert person.shot.picture.shape == (60, 60, 3)  # the square of 40 and a quarter on every side


def test_two_at_a_time_and_one_after_the_other():
    together = [picture(20 + 2 * n, 300 - 2 * n) for n in range(10)]
    people, _ = search(together)
    assert [person.faces_seen for person in people] == [9, 9]
    nobody = [picture()] * 30
    people, _ = search([*together, *nobody, *together])
    assert [person.number for person in people] == [1, 2, 3, 4]
    assert people[0].last_s == 0.9
    assert people[2].first_s == 4.1


def test_a_gap_in_the_times_ends_a_track_however_few_frames_it_has():
    images = [picture(20)] * 6
    assert len(search(images)[0]) == 1
    people, _ = search(images, times=[0.0, 0.1, 0.2, 60.0, 60.1, 60.2])
    assert [person.first_s for person in people] == [0.1, 60.1]


def test_a_face_that_only_its_frame_shows_counts_if_its_crop_looks_right():
    even, odd = [picture(40)] * 5, [picture(42)] * 5
    (person,), _ = search(even)
    assert person.shot.record.quality.scalar == 20
    assert not person.skipped
    (person,), _ = search(odd)
    assert person.shot is None
    assert person.skipped[NOT_CONFIRMED] == 1
    assert person.faces_seen == 4


def detect_bright(image):
    """The white square of a region, with the template's points."""
    rows, columns = np.nonzero(image[..., 0] > 128)
    if not len(rows):
        return []
    x, y = columns.min(), rows.min()
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    points = (ARCFACE / IMAGE * (width, height) + (x, y)).astype(np.float32)
    return [DetectedFace((float(x), float(y), float(width), float(height)), points, 0.9)]


def test_the_better_of_both_readings_wins():
    """A second detection aligns the white square itself: brightness 255, a quality of 100."""
    (person,), _ = search([picture(42)] * 5, detect_bright)
    assert person.shot.record.quality.scalar == 100
    assert person.shot.record.box == pytest.approx((42, 40, 40, 40), abs=1)
    assert person.shot.record.frame_time == 0.1
    assert person.shot.crop.mean() > 200


@pytest.mark.parametrize(("helps", "looks"), [(True, 6 * 2), (False, 3)])
def test_one_of_every_half_second_is_detected_again_and_fewer_where_it_does_not_help(helps, looks):
    """Of three seconds: after 0.5, 1 ... 2.5 and at the end; or after 0.5, 1.5 and at the end.

    A look that sees a face has two passes."""
    looked = []

    def detect(image):
        looked.append(image.shape)
        return detect_bright(image) if helps else []

    search([picture(40)] * 31, detect)
    assert len(looked) == looks


def test_faces_that_are_not_worth_a_score_are_counted_by_reason():
    class TooSmall(FindSquares):
        def find(self, image):
            return [replace(face, crop=None, skip="too_small") for face in super().find(image)]

    (person,), _ = search([picture(40)] * 5, finder=TooSmall())
    assert person.shot is None
    assert dict(person.skipped) == {"too_small": 4}


def test_no_faces():
    people, shots = search([picture()] * 5)
    assert people == []
    assert shots.unconfirmed == 0
