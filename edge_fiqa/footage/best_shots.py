"""The people of a video, and the best face of each: tracks and best shots as the gateway has them.

Every face is scored as it comes. The best of every half second of a person is detected and scored
again; of both readings the better one is offered as the best shot. Where that is no better, it is done
less often. One of both must say that it is a face: the second detection, or the check of the aligned
crop. A person is followed while the camera sees them without a gap. One who comes back later is another
person here: nothing recognises them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.footage.second_look import DetectFaces, FaceRegion, look_again
from edge_fiqa.footage.video_file import VideoFrame
from edge_fiqa.gateway.events.best_shot import BestShot, worth
from edge_fiqa.gateway.tracks.face_finder import FindFaces, SeenFace
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import Record
from edge_fiqa.scoring.pipeline import Scores
from edge_fiqa.types import Bytes

LOOK_AGAIN_S, LEAST_OFTEN_S = 0.5, 4.0
"""Between two second detections of a person: where they help, and where they do not."""
NOT_CONFIRMED = "not_confirmed"
"""Why a face does not count: neither a second detection nor the check of its crop calls it one."""


@dataclass(frozen=True)
class Candidate:
    """The most promising face of half a second, as the frame's detection gave it.

    value: 0-100 quality, or the raw score. doubtful: the check of its crop says that it may be none.
    """

    record: Record
    frame: int
    value: float
    crop: Bytes
    region: FaceRegion
    doubtful: bool


@dataclass(frozen=True)
class Shot:
    """The best face so far. crop: (112, 112, 3); picture: (H, W, 3), with a margin; uint8 RGB."""

    record: Record
    frame: int
    crop: Bytes
    picture: Bytes


@dataclass
class VideoPerson:
    """A person while a video shows them. first_s, last_s: seconds from the video's begin.

    skipped: faces that do not count, by reason. shot: None if none could be scored.
    """

    number: int
    first_s: float
    last_s: float
    faces_seen: int = 0
    faces_scored: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    best: BestShot = field(default_factory=BestShot)
    shot: Shot | None = None
    candidate: Candidate | None = None
    looked_s: float = float("-inf")
    look_every_s: float = LOOK_AGAIN_S

    def offer(self, shot: Shot) -> None:
        """Keep it where it is the best so far."""
        self.best.offer(shot.record, clearly=0.0)
        if self.best.best is shot.record:
            self.shot = shot


class BestShots:
    """Takes the frames of one video in their order. Not thread-safe.

    source: the video's name in records. detect: again, in a picture of one face.
    unconfirmed: faces that were not sure enough to follow.
    """

    def __init__(
        self,
        source: str,
        finder: FindFaces,
        detect: DetectFaces,
        tracker: Tracker,
        scorer: Scores,
        policies: Sequence[Policy],
        min_eye_px: float,
    ) -> None:
        self.source, self.unconfirmed, self.min_eye_px = source, 0, min_eye_px
        self._finder, self._detect, self._tracker = finder, detect, tracker
        self._scorer, self._policies = scorer, policies
        self._people: dict[int, VideoPerson] = {}

    def add(self, frame: VideoFrame) -> list[VideoPerson]:
        """The people who have left by the time of this frame. Raises EngineFailed."""
        faces = self._finder.find(frame.image)
        boxes, scores = [face.box for face in faces], [face.score for face in faces]
        numbers, ended = self._tracker.update(boxes, scores, frame.time_s)
        followed = []
        for face, number in zip(faces, numbers, strict=True):
            if number is None:
                self.unconfirmed += 1
            else:
                followed.append((self._seen(number, frame, face), face))
        self._score(frame, followed)
        return self._leave(ended)

    def end(self) -> list[VideoPerson]:
        """The people whom the last frames showed."""
        return self._leave(self._tracker.end_all())

    def _seen(self, number: int, frame: VideoFrame, face: SeenFace) -> VideoPerson:
        new = VideoPerson(number, frame.time_s, frame.time_s, looked_s=frame.time_s)
        person = self._people.setdefault(number, new)
        person.last_s = frame.time_s
        person.faces_seen += 1
        if face.skip is not None:
            person.skipped[face.skip] += 1
        return person

    def _score(self, frame: VideoFrame, followed: Sequence[tuple[VideoPerson, SeenFace]]) -> None:
        pairs = [(person, face) for person, face in followed if face.crop is not None]
        inputs = [self._input(frame, index, *pair) for index, pair in enumerate(pairs)]
        records = self._scorer.score(inputs, self._policies) if inputs else []
        for record, (person, face) in zip(records, pairs, strict=True):
            value = worth(record)
            if value is None:
                person.skipped[record.quality.code] += 1
                continue
            person.faces_scored += 1
            if person.candidate is None or value > person.candidate.value:
                person.candidate = _candidate(frame, face, record, value)
            if frame.time_s - person.looked_s >= person.look_every_s:
                self._look_again(person)
                person.looked_s = frame.time_s

    def _input(
        self, frame: VideoFrame, index: int, person: VideoPerson, face: SeenFace
    ) -> FaceCrop:
        assert face.crop is not None
        return FaceCrop(
            f"{self.source}/{frame.number}#{index}",
            self.source,
            face.crop,
            face.box,
            face.landmarks,
            face.warnings,
            person=f"{self.source}/{person.number}",
        )

    def _look_again(self, person: VideoPerson) -> None:
        candidate, person.candidate = person.candidate, None
        if candidate is None:
            return
        first, second = candidate.record, self._second_shot(candidate)
        if not candidate.doubtful and first.box is not None:
            picture = candidate.region.picture(first.box)
            person.offer(Shot(first, candidate.frame, candidate.crop, picture))
        elif second is None:
            person.skipped[NOT_CONFIRMED] += 1
        if second is not None:
            person.offer(second)
        helps = second is not None and (
            candidate.doubtful or (worth(second.record) or 0.0) > candidate.value
        )
        person.look_every_s = LOOK_AGAIN_S if helps else min(2 * person.look_every_s, LEAST_OFTEN_S)

    def _second_shot(self, candidate: Candidate) -> Shot | None:
        first, region = candidate.record, candidate.region
        face = look_again(region, self._detect, self.min_eye_px)
        if face is None:
            return None
        crop = FaceCrop(first.id, self.source, face.crop, face.box, face.landmarks, face.warnings)
        record = self._scorer.score([crop], self._policies)[0]
        record = msgspec.structs.replace(record, frame_time=first.frame_time)
        return Shot(record, candidate.frame, face.crop, region.picture(face.box))

    def _leave(self, numbers: Sequence[int]) -> list[VideoPerson]:
        people = [self._people.pop(number) for number in sorted(numbers)]
        for person in people:
            self._look_again(person)
        return people


def _candidate(frame: VideoFrame, face: SeenFace, record: Record, value: float) -> Candidate:
    """record: of `face`, whose crop was scored."""
    assert face.crop is not None
    return Candidate(
        msgspec.structs.replace(record, frame_time=frame.time_s),
        frame.number,
        value,
        face.crop,
        FaceRegion.of(frame.image, face.box),
        doubtful=len(record.warnings) > len(face.warnings),
    )
