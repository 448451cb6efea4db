"""A thread that scores: takes faces from the desk, as deep as it is granted, and tells the story."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.schedule import Speed, worth_loading
from edge_fiqa.gateway.tracks.face_finder import Skip
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Fixed, Policy, Reason
from edge_fiqa.record import Record
from edge_fiqa.scoring.pipeline import Scores
from edge_fiqa.scoring.scorer import Scorer

AFTER_FAILURE_S = 1.0  # before an engine that failed is tried again
BATCH = 8  # faces in the batch that shows what batches gain


@dataclass(frozen=True)
class GrantedDepth(Fixed):
    """The depth that the scheduler grants: its reason for stopping is the budget."""

    @property
    def reason(self) -> Reason:
        return "budget"


class Worker:
    """One engine in one thread. `answered` and `lost` are called from it.

    policies: may stop a face before the granted depth. renew: called once by the thread between two
    faces, to exchange both. problem: what is wrong with the engine. beat: monotonic time of the last
    sign of life.
    """

    def __init__(
        self,
        desk: FaceQueue,
        scores: Scores,
        policies: Sequence[Policy],
        answered: Callable[[QueuedFace, Record, float], None],
        lost: Callable[[QueuedFace, Skip], None],
    ) -> None:
        self.desk, self.scores, self.policies = desk, scores, policies
        self._answered, self._lost = answered, lost
        self.renew: Callable[[], None] | None = None
        self.problem: str | None = None
        self.beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="score", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the last face. The desk must be closed."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self.desk.done:
            self.beat = time.monotonic()
            if self.renew is not None:
                renew, self.renew = self.renew, None
                renew()
            taken = self.desk.take()
            if taken is None:
                continue
            batches = [taken.jobs] if self.desk.speed.batches else [[job] for job in taken.jobs]
            for jobs in batches:
                self._score(jobs, taken.exit)

    def _score(self, jobs: Sequence[QueuedFace], exit: int) -> None:
        start = time.monotonic()
        try:
            faces = [job.face for job in jobs]
            records = self.scores.score(faces, [GrantedDepth(exit), *self.policies])
        except EdgeFiqaError as exc:
            self.problem = str(exc)
            for job in jobs:
                self._lost(job, "engine")
            time.sleep(AFTER_FAILURE_S)
            return
        self.problem = None
        end = time.monotonic()
        self.desk.took(len(jobs), exit, end - start)
        for job, record in zip(jobs, records, strict=True):
            self._answered(job, record, end)


def granted_exits(scorer: Scorer, least_exit: int) -> tuple[int, ...]:
    """The exits of this model that the scheduler may grant."""
    forecast = scorer.controller.forecast()
    return worth_loading(forecast.exits, forecast.gflops, least_exit)


def warm(scorer: Scorer, ways: Iterable[Sequence[Policy]], faces: Iterable[int]) -> None:
    """Load and run what these lists of policies may run, in batches of those sizes.

    Everything is named to the engine at once, so that one which has to build knows how much it is.
    """
    ways, faces = list(ways), list(faces)
    routes = {steps for way in ways for steps in scorer.controller.routes(way)}
    scorer.engine.prepare({segment for steps in routes for segment in steps}, faces)
    for count in faces:
        for way in ways:
            scorer.prepare(way, count)


def measure_speed(scorer: Scorer, workers: int, exits: tuple[int, ...], repeats: int = 7) -> Speed:
    """Seconds from a crop to its record at these exits, and what a batch gains, on this machine now.

    Also loads and warms the way to each.
    """
    alone = [[GrantedDepth(exit)] for exit in exits]
    warm(scorer, alone, [1])
    faces = [FaceCrop(str(n), "warm-up", crop) for n, crop in enumerate(synthetic_faces(BATCH))]

    def seconds(exit: int, count: int) -> float:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            scorer.score(faces[:count], [GrantedDepth(exit)])
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])

    rising: list[float] = []
    for exit in exits:
        rising.append(max([seconds(exit, 1), *rising[-1:]]))
    scorer.prepare([GrantedDepth(exits[-1])], BATCH)
    share = (seconds(exits[-1], BATCH) / rising[-1] - 1) / (BATCH - 1)
    speed = Speed(exits, tuple(rising), workers, min(1.0, max(0.0, share)))
    if speed.batches:
        warm(scorer, alone, range(2, BATCH + 1))
    return speed
