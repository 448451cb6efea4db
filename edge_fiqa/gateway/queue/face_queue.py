"""The desk where faces of all cameras wait, and where the free workers come for the next ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass, field

from edge_fiqa.exits.cost import LoadFactor
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.gateway.queue.schedule import Demand, Speed, Strategy, WaitingFace
from edge_fiqa.gateway.tracks.face_finder import Skip
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes

MOST = 2000  # faces that wait; more would only be dropped later
LOOK_S = 0.05  # how often a worker with nothing to do looks up


@dataclass(frozen=True)
class QueuedFace:
    """A face to be scored. arrived, deadline: monotonic seconds; time: Unix seconds of the frame.

    track: None for a pushed face, whose `answer` somebody waits for. surroundings: for a snapshot.
    """

    face: FaceCrop | RefusedFace
    arrived: float
    deadline: float
    time: float
    camera: str | None = None
    track: str | None = None
    surroundings: Bytes | None = field(default=None, repr=False)
    answer: Future[Record] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class TakenFaces:
    """Faces to score to `exit`: as one batch, or in order."""

    jobs: list[QueuedFace]
    exit: int


class FaceQueue:
    """Thread-safe. `lost` is told of every face that is not scored, from the caller's thread.

    strategy may be exchanged at any time. good: tracks that have a good shot; a set that somebody else
    keeps.
    """

    def __init__(
        self,
        speed: Speed,
        strategy: Strategy,
        good: Set[str],
        lost: Callable[[QueuedFace, Skip], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.speed, self.strategy, self.good = speed, strategy, good
        self._lost, self._clock = lost, clock
        self._pace, self._demand = LoadFactor(), Demand()
        self._jobs: dict[int, QueuedFace] = {}
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, job: QueuedFace) -> None:
        """Let a face wait. Beyond MOST, and after `close`, it is lost at once."""
        with self._changed:
            self._demand.arrive(self._clock())
            fits = len(self._jobs) < MOST and not self._closed
            if fits:
                self._jobs[self._next] = job
                self._next += 1
                self._changed.notify()
        if not fits:
            self._lost(job, "overload")

    def take(self) -> TakenFaces | None:
        """What to score next; waits a moment for it. None: nothing yet, or never again (`done`)."""
        lost: list[tuple[QueuedFace, Skip]] = []
        with self._changed:
            if not self._jobs and not self._closed:
                self._changed.wait(LOOK_S)
            if not self._jobs:
                return None
            now = self._clock()
            decision = self.strategy(
                now,
                [
                    WaitingFace(number, job.arrived, job.deadline, job.track in self.good)
                    for number, job in self._jobs.items()
                ],
                self.speed.scaled(self._pace.value),
                self._demand.rate(now),
            )
            lost += [(self._jobs.pop(number), "good_shot") for number in decision.skipped]
            lost += [(self._jobs.pop(number), "overload") for number in decision.dropped]
            jobs = [self._jobs.pop(number) for number in decision.run]
        for job, reason in lost:
            self._lost(job, reason)
        return TakenFaces(jobs, decision.exit) if jobs else None

    def took(self, faces: int, exit: int, seconds: float) -> None:
        """How long scoring took: what the next predictions are scaled by."""
        place = self.speed.exits.index(exit)
        with self._changed:
            self._pace.observe(self.speed.batch_seconds(place, faces), seconds)

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
            return self._closed and not self._jobs

    def close(self) -> None:
        """Take no more faces. Those that wait are still to be had."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Give up what still waits."""
        with self._changed:
            left, self._jobs = list(self._jobs.values()), {}
        for job in left:
            self._lost(job, "overload")
