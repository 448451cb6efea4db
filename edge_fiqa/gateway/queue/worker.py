"""A thread that takes faces from the queue and scores them as deep as the scheduler grants."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.health import Health
from edge_fiqa.gateway.queue.schedule import Speed, exits_to_load
from edge_fiqa.gateway.tracks.face_finder import SkipReason
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Fixed, Policy, Reason
from edge_fiqa.record import Record
from edge_fiqa.scoring.pipeline import Scores
from edge_fiqa.scoring.scorer import Scorer

AFTER_FAILURE_S = 1.0  # before an engine that failed is tried again
GPU = "CUDA: "  # how the names of such devices begin
BATCH = 8  # faces in the batch that shows what batches gain


@dataclass(frozen=True)
class GrantedDepth(Fixed):
    """The depth that the scheduler grants: its reason for stopping is the budget."""

    @property
    def reason(self) -> Reason:
        return "budget"


class Worker:
    """One engine in one thread, which calls `on_scored` and `on_lost`.

    policies: may stop a face before the granted depth.
    renew: called once by the thread between two faces, to exchange `scores` and `policies`.
    health: of the engine.
    heartbeat: monotonic time of the last sign of life.
    """

    def __init__(
        self,
        queue: FaceQueue,
        scores: Scores,
        policies: Sequence[Policy],
        on_scored: Callable[[QueuedFace, Record, float], None],
        on_lost: Callable[[QueuedFace, SkipReason], None],
    ) -> None:
        self.queue, self.scores, self.policies = queue, scores, policies
        self._on_scored, self._on_lost = on_scored, on_lost
        self.renew: Callable[[], None] | None = None
        self.health = Health("the engine")
        self.heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the last face. The queue must be closed."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self.queue.done:
            self.heartbeat = time.monotonic()
            if self.renew is not None:
                renew, self.renew = self.renew, None
                renew()
            taken = self.queue.take()
            if taken is None:
                continue
            together = self.queue.speed.batches
            for batch in [taken.faces] if together else [[face] for face in taken.faces]:
                self._score(batch, taken.exit)

    def _score(self, batch: Sequence[QueuedFace], exit: int) -> None:
        start = time.monotonic()
        try:
            inputs = [face.input for face in batch]
            records = self.scores.score(inputs, [GrantedDepth(exit), *self.policies])
        except EdgeFiqaError as exc:
            self.health.failed(exc)
            for face in batch:
                self._on_lost(face, "engine")
            time.sleep(AFTER_FAILURE_S)
            return
        self.health.works()
        end = time.monotonic()
        self.queue.observe(len(batch), exit, end - start)
        for face, record in zip(batch, records, strict=True):
            self._on_scored(face, record, end)


def grantable_exits(scorer: Scorer, least_exit: int) -> tuple[int, ...]:
    """The exits of this model that the scheduler may grant."""
    forecast = scorer.controller.forecast()
    return exits_to_load(forecast.exits, forecast.gflops, least_exit)


def warm(
    scorer: Scorer, policy_lists: Iterable[Sequence[Policy]], batch_sizes: Iterable[int]
) -> None:
    """Load and run what these lists of policies may run, in batches of these sizes.

    Everything is named to the engine at once, so that one which has to build knows how much it is.
    """
    policy_lists, batch_sizes = list(policy_lists), list(batch_sizes)
    routes = {route for policies in policy_lists for route in scorer.controller.routes(policies)}
    scorer.engine.prepare({segment for route in routes for segment in route}, batch_sizes)
    for faces in batch_sizes:
        for policies in policy_lists:
            scorer.prepare(policies, faces)


def measure_speed(scorer: Scorer, workers: int, exits: tuple[int, ...], repeats: int = 7) -> Speed:
    """Seconds from a crop to its record at these exits, and what a batch gains, on this machine now.

    Also loads and warms the route to each. Batches are tried on GPUs alone: a processor gains too
    little for the memory that each batch size of each exit takes, and a busy one would make up a gain
    now and then. For the same reason the gain is taken from the shortest times.
    """
    granted = [[GrantedDepth(exit)] for exit in exits]
    warm(scorer, granted, [1])
    seconds: list[float] = []  # rising, although times scatter
    for exit in exits:
        alone = _times(scorer, exit, 1, repeats)
        seconds.append(max([statistics.median(alone), *seconds[-1:]]))
    if not scorer.engine.device.startswith(GPU):
        return Speed(exits, tuple(seconds), workers)
    scorer.prepare(granted[-1], BATCH)
    together = _times(scorer, exits[-1], BATCH, repeats)
    marginal = (min(together) / min(alone) - 1) / (BATCH - 1)
    speed = Speed(exits, tuple(seconds), workers, min(1.0, max(0.0, marginal)))
    if speed.batches:
        warm(scorer, granted, range(2, BATCH + 1))
    return speed


def _times(scorer: Scorer, exit: int, count: int, repeats: int) -> list[float]:
    """Seconds of `count` faces to `exit`; the first run does not count."""
    crops = synthetic_faces(BATCH)[:count]
    faces = [FaceCrop(str(number), "warm-up", crop) for number, crop in enumerate(crops)]
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        scorer.score(faces, [GrantedDepth(exit)])
        times.append(time.perf_counter() - start)
    return times[1:]
