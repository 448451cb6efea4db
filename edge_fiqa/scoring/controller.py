"""Runs the loop: run a segment, fuse, ask the policies, drop the finished faces, repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.arguments import whole_number
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.engines.base import Engine, Tokens, require_tokens
from edge_fiqa.exits import route
from edge_fiqa.exits.cost import CostTable, LoadFactor
from edge_fiqa.exits.fusion import Fusion, check_weights, fuse
from edge_fiqa.exits.route import Route
from edge_fiqa.policies.policy import Fixed, Forecast, Policy, Progress, Reason, first_to_stop
from edge_fiqa.types import IMAGE, Array, Bytes, Rows, Segment

Spent = tuple[float, float, float]
"""ms, GFLOPs, mJ (NaN where not measured)."""


@dataclass(frozen=True)
class Assessment:
    """What N faces got and what it cost. E exits; everything else is (N,).

    trail: (N, E) float32 raw scores, NaN where an exit was not run. score: fused over exits 1..depth,
    NaN if a score was not finite. ms: the face's share of the time its batches took. mj: by the cost
    table, NaN without energy in it. planned: the deepest exit that the policies allowed before they
    saw a score. causes: (N, D) logits of causes of low quality, read where each face stopped, NaN
    where none was; None if the bundle has no heads for them.
    """

    trail: Array
    depth: npt.NDArray[np.intp]
    score: Array
    reason: list[Reason]
    ms: npt.NDArray[np.float64]
    gflops: npt.NDArray[np.float64]
    mj: npt.NDArray[np.float64]
    planned: int
    causes: Array | None = None

    def __len__(self) -> int:
        return len(self.depth)


class Controller:
    """Assesses batches of faces on one engine. Threads may share it: they wait for the engine's turn.

    With an estimator, policies see estimates of the full fused score, else the fused score as it
    is. `clock` returns seconds. The load factor follows how much slower than `costs` the machine is.
    """

    def __init__(
        self,
        engine: Engine,
        costs: CostTable | None = None,
        fusion: Fusion = "FW",
        estimator: Estimator | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not isinstance(fusion, str):
            check_weights(fusion, engine.config.depth)
        self.engine, self.fusion, self.clock = engine, fusion, clock
        self.estimator = estimator
        self.exits = route.exits(engine.segments)
        self.load = LoadFactor()
        self._routes = {
            (depth, in_steps): route.route_to(engine.segments, depth, in_steps=in_steps)
            for depth in self.exits
            for in_steps in (False, True)
        }
        self.costs = costs or CostTable.of(engine.config, engine.segments, {})

    @property
    def costs(self) -> CostTable:
        return self._costs

    @costs.setter
    def costs(self, costs: CostTable) -> None:
        self._costs = costs
        self._cost_of = {
            chosen: (costs.gflops_of(chosen), costs.ms_of(chosen), costs.mj_of(chosen))
            for chosen in self._routes.values()
        }
        self._cost_of_segment = {
            segment: (costs.ms.get(segment), costs.gflops[segment], costs.mj.get(segment))
            for segment in self.engine.segments
        }

    def ms_of(self, segment: Segment) -> float | None:
        """Return the ms of one face by the cost table; None where it was not measured."""
        return self._cost_of_segment[segment][0]

    def route(self, depth: int, policies: Sequence[Policy]) -> Route:
        """Return the segments to run to exit `depth` under these policies.

        Use one-step segments, each from one exit to the next, if (a) a policy may stop early, or (b) a
        time limit may give the next face another exit. The same loaded segments then serve every depth.
        """
        may_stop_early = any(policy.watches for policy in policies)
        depth_may_change = any(policy.needs_ms for policy in policies) and depth < self.exits[-1]
        return self._routes[depth, may_stop_early or depth_may_change]

    def forecast(self, policies: Sequence[Policy] = ()) -> Forecast:
        """Predict the cost of stopping at each exit, at the present load."""
        costs = [self._cost_of[self.route(depth, policies)] for depth in self.exits]
        ms = [ms * self.load.value for _, ms, _ in costs if ms is not None]
        mj = [mj for _, _, mj in costs if mj is not None]
        return Forecast(
            self.exits,
            tuple(gflops for gflops, _, _ in costs),
            tuple(ms) if len(ms) == len(costs) else None,
            tuple(mj) if len(mj) == len(costs) else None,
        )

    def plan(self, policies: Sequence[Policy]) -> tuple[int, Reason]:
        """Return the deepest exit that the policies allow, and the reason for stopping there.

        Raises ConfigError if one of them asks for an exit that this bundle does not have.
        """
        forecast = self.forecast(policies)
        limits = [policy.limit(forecast) for policy in policies]
        depth = min(limits)
        reason = next(p.reason for p, k in zip(policies, limits, strict=True) if k == depth)
        return depth, "full" if depth == self.exits[-1] and reason != "fixed" else reason

    def prepare(self, policies: Sequence[Policy] = (Fixed(),), batch: int = 1) -> None:
        """Load and warm every segment that these policies may run, so that no face pays for it.

        A budget in ms may choose any exit, so all are warmed. Batches get smaller as faces stop: the
        engine prepares for the smaller sizes, too, but runs only `batch`. The load factor starts anew.
        """
        batch = min(whole_number("batch", batch, 1), self.engine.max_batch)
        faces = np.zeros((batch, IMAGE, IMAGE, 3), np.uint8)
        with self.engine.turn:
            routes = self.routes(policies)
            self.engine.prepare({s for steps in routes for s in steps}, range(1, batch + 1))
            for steps in routes:
                _Run(self, batch, (), steps, self.clock()).assess_batch(
                    faces, np.arange(batch), "full"
                )
            self.load = LoadFactor()

    def routes(self, policies: Sequence[Policy]) -> set[Route]:
        """Return every route that these policies may choose for a face."""
        depths = self.exits if any(policy.needs_ms for policy in policies) else ()
        return {self.route(depth, policies) for depth in {*depths, self.plan(policies)[0]}}

    def assess(
        self, faces: Bytes, policies: Sequence[Policy] = (Fixed(),), begin: float | None = None
    ) -> Assessment:
        """Assess faces (N, 112, 112, 3) uint8 RGB. N may be 0, or more than the engine's batch.

        begin: when the caller began to wait, by `clock`: deadlines count from there. None: now.
        """
        begin = self.clock() if begin is None else begin
        watching = [policy for policy in policies if policy.watches]
        # Hold the engine for the whole call: between two segments its buffers hold our tokens.
        with self.engine.turn:
            depth, reason = self.plan(policies)
            run = _Run(self, len(faces), watching, self.route(depth, policies), begin)
            for start in range(0, len(faces), self.engine.max_batch):
                rows = np.arange(start, min(start + self.engine.max_batch, len(faces)))
                run.assess_batch(faces, rows, reason)
        score = fuse(run.trail, run.depth, self.fusion)
        ms, gflops, mj = run.spent.T
        return Assessment(run.trail, run.depth, score, run.reason, ms, gflops, mj, depth)

    def estimate(self, trail: Array, depth: int) -> Array:
        """Return (N,) what policies see of scores (N, depth): the estimated full or the fused score."""
        fused = fuse(trail, depth, self.fusion)
        return fused if self.estimator is None else self.estimator.estimate(fused, depth)

    def charge(self, segment: Segment, faces: int, ms: float) -> Spent:
        """Return what a segment that took `ms` cost each of `faces`; the load factor learns from it."""
        predicted, gflops, mj = self._cost_of_segment[segment]
        if predicted is not None:
            self.load.observe(predicted * faces, ms)
        return ms / faces, gflops, np.nan if mj is None else mj


class _Batch:
    """The N faces of one batch that are still running.

    rows: (N,) the row of each face among the faces of the call.
    x: what the next segment takes. It may still hold faces that are finished.
    row_in_x: (N,) the row of each face in x.
    estimates: (N, steps), what policies saw after each step.
    spent: (3,) ms, GFLOPs and mJ of each face, the same for all: they ran together.
    """

    def __init__(self, faces: Bytes, rows: Rows, steps: int) -> None:
        self.rows, self.row_in_x = rows, np.arange(len(rows))
        self.x: Bytes | Tokens = faces[rows[0] : rows[-1] + 1]
        self.estimates: Array = np.empty((len(rows), steps), np.float32)
        self.spent = np.zeros(3)

    def keep(self, going_on: Rows, engine: Engine) -> None:
        """Go on with these of the N faces. Take the others out of x if that saves the engine work."""
        self.rows, self.row_in_x = self.rows[going_on], self.row_in_x[going_on]
        self.estimates = self.estimates[going_on]
        if not isinstance(self.x, Tokens) or not going_on.size:
            return
        if engine.computed(len(going_on)) < engine.computed(self.x.faces):
            self.x, self.row_in_x = engine.keep(self.x, self.row_in_x), np.arange(len(going_on))


class _Run:
    """The state of one call of `assess`. spent: (N, 3) ms, GFLOPs and mJ of each face."""

    def __init__(
        self,
        controller: Controller,
        faces: int,
        watching: Sequence[Policy],
        steps: Route,
        begin: float,
    ) -> None:
        self.controller, self.watching, self.steps = controller, watching, steps
        self.begin = begin
        self.trail = np.full((faces, controller.engine.config.depth), np.nan, np.float32)
        self.depth = np.zeros(faces, np.intp)
        self.reason: list[Reason] = ["full"] * faces
        self.spent = np.zeros((faces, 3))

    def assess_batch(self, faces: Bytes, rows: Rows, reason_at_end: Reason) -> None:
        """Run a segment, fuse the scores so far, ask the policies, drop the finished faces, go on."""
        batch = _Batch(faces, rows, len(self.steps))
        for number, segment in enumerate(self.steps[:-1]):
            batch.x = require_tokens(self._run_segment(segment, batch))
            if not self.watching and np.isfinite(self.trail[batch.rows, segment.exits]).all():
                continue  # no policy may stop a face here, and all scores are finite
            self._fuse(batch, number)
            reasons = self._ask(batch.estimates[:, : number + 1], number)
            if any(reasons):
                self._finish(batch, reasons, segment.last)
                batch.keep(np.flatnonzero([r is None for r in reasons]), self.controller.engine)
            if not batch.rows.size:
                return
        self._run_segment(self.steps[-1], batch)
        self._finish(batch, self._reasons_at_end(batch, reason_at_end), self.steps[-1].last)

    def _run_segment(self, segment: Segment, batch: _Batch) -> Tokens | None:
        """Run one segment; note its scores and its cost."""
        clock = self.controller.clock
        start = clock()
        tokens, scores = self.controller.engine.run(segment, batch.x)
        ms = 1e3 * (clock() - start)
        batch.spent += self.controller.charge(segment, len(batch.rows), ms)
        self.trail[batch.rows, segment.exits] = scores[batch.row_in_x]
        return tokens

    def _fuse(self, batch: _Batch, number: int) -> None:
        last = self.steps[number].last
        fused = self.controller.estimate(self.trail[batch.rows, :last], last)
        batch.estimates[:, number] = fused

    def _ask(self, estimates: Array, number: int) -> list[Reason | None]:
        """Say why each face stops after step `number`, or None. estimates: (N, number + 1)."""
        faces, following = len(estimates), self.controller.ms_of(self.steps[number + 1])
        progress = Progress(
            estimates,
            self.steps[number].last,
            1e3 * (self.controller.clock() - self.begin),
            None if following is None else following * self.controller.load.value * faces,
        )
        reasons = first_to_stop(self.watching, progress)
        broken = np.isnan(estimates[:, -1])
        if broken.any():
            for position in np.flatnonzero(broken):
                reasons[position] = "not_finite"
        return reasons

    def _reasons_at_end(self, batch: _Batch, reason: Reason) -> list[Reason]:
        finite = np.isfinite(self.trail[batch.rows, : self.steps[-1].last])
        return [reason if scores.all() else "not_finite" for scores in finite]

    def _finish(self, batch: _Batch, reasons: Sequence[Reason | None], depth: int) -> None:
        """Stop the faces that have a reason at `depth`."""
        for row, reason in zip(batch.rows, reasons, strict=True):
            if reason is not None:
                self.reason[row], self.depth[row], self.spent[row] = reason, depth, batch.spent
