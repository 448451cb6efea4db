"""Pictures that are pushed from outside: their faces are scored in turn with those of the cameras."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime

import msgspec

from edge_fiqa.errors import ConfigError, FailureCode, ImageRefused, Overloaded
from edge_fiqa.faces.align import align_given
from edge_fiqa.faces.border import border_warnings
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.tracks.face_finder import FindFaces, SeenFace
from edge_fiqa.record import Record
from edge_fiqa.types import IMAGE, Bytes, Point

GRACE_S = 1.0  # beyond its deadline, for a pushed face that is being scored
SOURCE = "push"
TOO_LATE = "the answer would come after its deadline"


class PushedFaces:
    """Puts pushed faces into the queue and waits for their records. Thread-safe.

    refused: the record of a face that is not scored.
    finder: for pictures that are no aligned crop and come without landmarks; None: they are refused.
    deadline_s: of a push that names none.
    A reload replaces the last three.
    """

    def __init__(
        self,
        queue: FaceQueue,
        events: EventBuilder,
        refused: Callable[[RefusedFace], Record],
        finder: FindFaces | None,
        min_eye_px: float,
        deadline_s: float,
    ) -> None:
        self._queue, self._events, self._refused = queue, events, refused
        self.finder, self.min_eye_px, self.deadline_s = finder, min_eye_px, deadline_s
        self._finder_lock = threading.Lock()

    def push(
        self, image: Bytes, landmarks: Sequence[Point] | None, deadline_s: float | None
    ) -> list[Record]:
        """As `View.push`."""
        began = time.time(), time.monotonic()
        faces, answers = self._scored(self._faces(image, landmarks), began, deadline_s)
        if not any(answers):
            raise Overloaded(TOO_LATE)
        return [answer or self._too_late(face) for face, answer in zip(faces, answers, strict=True)]

    def push_crops(self, crops: Bytes) -> list[Record]:
        """As `View.push_crops`."""
        faces = [FaceCrop(f"{SOURCE}#{n}", SOURCE, crop) for n, crop in enumerate(crops)]
        _, answers = self._scored(faces, (time.time(), time.monotonic()), None)
        records = [answer for answer in answers if answer is not None]
        if len(records) < len(faces):
            raise Overloaded(TOO_LATE)
        return records

    def _scored(
        self,
        inputs: Sequence[FaceCrop | RefusedFace],
        began: tuple[float, float],
        deadline_s: float | None,
    ) -> tuple[list[QueuedFace], list[Record | None]]:
        """Queued together. began: Unix and monotonic seconds."""
        time_s, arrived = began
        deadline = arrived + (self.deadline_s if deadline_s is None else deadline_s)
        faces = [QueuedFace(x, arrived, deadline, time_s, answer=Future()) for x in inputs]
        for face in faces:
            self._events.face_pushed()
            self._queue.put(face)
        return faces, [_answer(face) for face in faces]

    def _too_late(self, face: QueuedFace) -> Record:
        """The record of a face whose deadline passed, in a picture with others that were answered."""
        late = face.input
        if isinstance(late, FaceCrop):
            late = RefusedFace(late.id, SOURCE, "timeout", TOO_LATE, late.box, late.landmarks)
        return msgspec.structs.replace(self._refused(late), frame_time=face.time)

    def _faces(
        self, image: Bytes, landmarks: Sequence[Point] | None
    ) -> Sequence[FaceCrop | RefusedFace]:
        if landmarks is not None:
            return [self._aligned(image, tuple(landmarks))]
        if image.shape == (IMAGE, IMAGE, 3):
            return [FaceCrop(f"{SOURCE}#0", SOURCE, image)]
        return self._detected(image)

    def _aligned(self, image: Bytes, landmarks: tuple[Point, ...]) -> FaceCrop | RefusedFace:
        name = f"{SOURCE}#0"
        try:
            crop = align_given(image, landmarks, self.min_eye_px)
        except ImageRefused as refusal:
            return RefusedFace(name, SOURCE, refusal.code, str(refusal), landmarks=landmarks)
        cut = border_warnings(landmarks, image.shape[1], image.shape[0])
        return FaceCrop(name, SOURCE, crop, landmarks=landmarks, warnings=cut)

    def _detected(self, image: Bytes) -> Sequence[FaceCrop | RefusedFace]:
        if self.finder is None:
            raise ConfigError(
                "this gateway has no detector: push an aligned 112x112 crop, or give landmarks"
            )
        with self._finder_lock:
            faces = self.finder.find(image)
        if not faces:
            return [RefusedFace(f"{SOURCE}#0", SOURCE, "no_face", "no face was found")]
        return [_to_score(f"{SOURCE}#{number}", face) for number, face in enumerate(faces)]


def _to_score(name: str, face: SeenFace) -> FaceCrop | RefusedFace:
    if face.crop is not None:
        return FaceCrop(name, SOURCE, face.crop, face.box, face.landmarks, face.warnings)
    code: FailureCode = "too_small" if face.skip == "too_small" else "no_face"
    reason = f"not scored: {face.skip}"
    return RefusedFace(name, SOURCE, code, reason, face.box, face.landmarks)


def _answer(face: QueuedFace) -> Record | None:
    """Wait for the record; None: it does not come in time. Raises EngineFailed."""
    assert face.answer is not None
    try:
        return face.answer.result(max(0.0, face.deadline + GRACE_S - time.monotonic()))
    except (NotInTime, Overloaded):
        return None
