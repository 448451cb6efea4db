"""The queue where faces of all cameras wait until a free worker takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass, field

from edge_fiqa.exits.cost import LoadFactor
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.gateway.queue.good_shots import GoodShotInterval
from edge_fiqa.gateway.queue.schedule import Demand, Grant, Speed, Strategy, WaitingFace
from edge_fiqa.gateway.tracks.face_finder import SkipReason
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes

MOST_WAITING = 2000  # faces; more would only be dropped later
TAKE_TIMEOUT_S = 0.05  # how long `take` waits for a face


@dataclass(frozen=True)
class QueuedFace:
    """A face to be scored.

    input: what the scorer gets.
    arrived, deadline: monotonic seconds.
    time: Unix seconds of the frame.
    track: None for a pushed face.
    picture: the face with a margin, for a snapshot.
    answer: of a pushed face, whose sender waits for it.
    detector_score: how sure the detector is of a camera's face, at most 1.
    """

    input: FaceCrop | RefusedFace
    arrived: float
    deadline: float
    time: float
    camera: str | None = None
    track: str | None = None
    picture: Bytes | None = field(default=None, repr=False)
    answer: Future[Record] | None = field(default=None, repr=False)
    detector_score: float = 1.0


@dataclass(frozen=True)
class TakenFaces:
    """Faces to score to `exit`: as one batch, or in order."""

    faces: list[QueuedFace]
    exit: int


class FaceQueue:
    """Faces that wait, and what is known of the machine that scores them. Thread-safe.

    strategy: may be exchanged at any time.
    good_tracks: tracks that have a good shot; the caller keeps this set up to date.
    on_lost: called for every face that is not scored, in the thread that called the queue.
    good_interval_s: of a person who has a good shot, one face is taken in so many seconds; 0: each.
    """

    def __init__(
        self,
        speed: Speed,
        strategy: Strategy,
        good_tracks: Set[str],
        on_lost: Callable[[QueuedFace, SkipReason], None],
        clock: Callable[[], float] = time.monotonic,
        good_interval_s: float = 0.0,
    ) -> None:
        self.speed, self.strategy, self.good_tracks = speed, strategy, good_tracks
        self._good_shots = GoodShotInterval(good_interval_s, good_tracks)
        self._on_lost, self._clock = on_lost, clock
        self._pace, self._demand = LoadFactor(), Demand()
        self._faces: dict[int, QueuedFace] = {}
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, face: QueuedFace) -> None:
        """Let a face wait. Beyond MOST_WAITING, and after `close`, it is lost at once."""
        with self._changed:
            lost = self._let_wait(face)
        if lost is not None:
            self._on_lost(face, lost)

    def _let_wait(self, face: QueuedFace) -> SkipReason | None:
        """Why it cannot wait, if so. The lock must be held."""
        if self._good_shots.is_too_soon(face.track, face.arrived):
            return "good_shot"
        self._demand.arrive(self._clock())
        if len(self._faces) >= MOST_WAITING or self._closed:
            return "overload"
        self._good_shots.note(face.track, face.arrived)
        self._faces[self._next] = face
        self._next += 1
        self._changed.notify()
        return None

    @property
    def good_interval_s(self) -> float:
        return self._good_shots.seconds

    @good_interval_s.setter
    def good_interval_s(self, seconds: float) -> None:
        self._good_shots.seconds = seconds

    def take(self) -> TakenFaces | None:
        """What to score next; waits a moment for it. None: nothing yet, or never again (`done`)."""
        with self._changed:
            if not self._faces and not self._closed:
                self._changed.wait(TAKE_TIMEOUT_S)
            if not self._faces:
                return None
            grant = self._grant()
            skipped = [self._faces.pop(number) for number in grant.skipped]
            dropped = [self._faces.pop(number) for number in grant.dropped]
            granted = [self._faces.pop(number) for number in grant.run]
        for face in skipped:
            self._on_lost(face, "good_shot")
        for face in dropped:
            self._on_lost(face, "overload")
        return TakenFaces(granted, grant.exit) if granted else None

    def _grant(self) -> Grant:
        """What the strategy makes of all that wait now. The lock must be held."""
        now = self._clock()
        waiting = [
            WaitingFace(number, face.arrived, face.deadline, face.track in self.good_tracks)
            for number, face in self._faces.items()
        ]
        return self.strategy(
            now, waiting, self.speed.scaled(self._pace.value), self._demand.rate(now)
        )

    def observe(self, faces: int, exit: int, seconds: float) -> None:
        """How long it took to score these. The next predictions are scaled by it."""
        index = self.speed.exits.index(exit)
        with self._changed:
            self._pace.observe(self.speed.batch_seconds(index, faces), seconds)

    @property
    def load(self) -> float:
        """Demand at full depth over capacity, just now."""
        with self._changed:
            capacity = self.speed.scaled(self._pace.value).capacity
            return self._demand.rate(self._clock()) / capacity

    @property
    def done(self) -> bool:
        """Closed, and nothing waits any more."""
        with self._changed:
            return self._closed and not self._faces

    def close(self) -> None:
        """Take no more faces. Those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Give up what still waits."""
        with self._changed:
            remaining, self._faces = list(self._faces.values()), {}
        for face in remaining:
            self._on_lost(face, "overload")
