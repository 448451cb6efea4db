"""What the workers score with: a scorer for each, the policies of the configuration, a shared audit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence

from edge_fiqa.calibration.audit import Audit
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.gateway.config.gateway import GatewayConfig
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.queue.face_queue import FaceQueue
from edge_fiqa.gateway.queue.worker import (
    BATCH,
    GrantedDepth,
    Worker,
    grantable_exits,
    measure_speed,
    warm,
)
from edge_fiqa.policies.policy import Convergence, Policy
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.pipeline import Scores
from edge_fiqa.scoring.scorer import Scorer

log = logging.getLogger("edge_fiqa.gateway")


def open_scorers(config: GatewayConfig) -> list[Scorer]:
    """One for each worker. Raises BundleError, BackendMissing, EngineFailed or ConfigError."""
    return [
        Scorer.open(
            config.model,
            backend=config.backend,
            threads=config.threads,
            gate=config.best_shot.gate,
        )
        for _ in range(config.workers)
    ]


class WorkerScoring:
    """The scorers of all workers. Once made, everything that may run has run.

    exits: those that the scheduler may grant.
    speed: of this machine, measured.
    """

    def __init__(self, config: GatewayConfig, scorers: Sequence[Scorer]) -> None:
        self.scorers = scorers
        self._audit: Audit | None = None
        self._audit_lock = threading.Lock()
        self.exits = grantable_exits(scorers[0], config.schedule.least_exit)
        self._first = [self._configured(config, scorer, [1]) for scorer in scorers]
        speeds = [measure_speed(scorer, len(scorers), self.exits) for scorer in scorers]
        self.speed = speeds[-1]
        if self.speed.batches:
            for scorer, (scores, policies) in zip(scorers, self._first, strict=True):
                warm(scorer, self._policy_lists(scores, policies), range(2, BATCH + 1))

    def workers(self, queue: FaceQueue, events: EventBuilder) -> list[Worker]:
        """A worker for each scorer, not started."""
        return [
            Worker(queue, scores, policies, events.face_scored, events.face_lost)
            for scores, policies in self._first
        ]

    def renew(self, config: GatewayConfig, workers: Sequence[Worker]) -> None:
        """Another gate or policy, taken up by each worker between two faces."""
        self._audit = None
        for worker, scorer in zip(workers, self.scorers, strict=True):

            def renew(worker: Worker = worker, scorer: Scorer = scorer) -> None:
                self._renew(config, worker, scorer)

            worker.renew = renew

    def _renew(self, config: GatewayConfig, worker: Worker, scorer: Scorer) -> None:
        """A worker that cannot (no such promise, a build that failed) goes on as before."""
        before = scorer.gate
        batch_sizes = range(1, BATCH + 1 if self.speed.batches else 2)
        try:
            scorer.set_gate(config.best_shot.gate)
            worker.scores, worker.policies = self._configured(config, scorer, batch_sizes)
        except EdgeFiqaError as exc:
            log.error("a worker keeps its gate and policy: %s", exc)
            scorer.set_gate(before)
            scorer.monitor = None

    def _configured(
        self, config: GatewayConfig, scorer: Scorer, batch_sizes: Iterable[int]
    ) -> tuple[Scores, Sequence[Policy]]:
        """What scores, and which policies may stop before the granted depth; warm."""
        scorer.monitor = None  # each camera has its own
        scores: Scores = scorer
        policies = [Convergence()] if config.schedule.policy == "convergence" else []
        if config.schedule.policy == "gate":
            with self._audit_lock:  # all workers share one audit, and may come here at once
                scores = service = GateService(scorer, audit=self._audit)
                self._audit = service.audit
        warm(scorer, self._policy_lists(scores, policies), batch_sizes)
        return scores, policies

    def _policy_lists(self, scores: Scores, policies: Sequence[Policy]) -> list[Sequence[Policy]]:
        """What a worker may run: each depth that may be granted, and what may stop before it."""
        lists: list[Sequence[Policy]] = [[GrantedDepth(exit), *policies] for exit in self.exits]
        if isinstance(scores, GateService):
            lists += [[GrantedDepth(exit), scores.gate] for exit in self.exits]
        return lists

    def close(self) -> None:
        for scorer in self.scorers:
            scorer.close()
