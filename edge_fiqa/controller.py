"""The loop: run a segment, fuse, ask the policies, drop the finished faces, repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa import route
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.cost import CostTable, LoadFactor
from edge_fiqa.engines.base import Engine, Tokens, behind
from edge_fiqa.exit_table import exit_table
from edge_fiqa.fusion import Fusion, check_weights, fuse
from edge_fiqa.policy import Fixed, Forecast, Policy, Progress, Reason, first_to_stop
from edge_fiqa.route import Route
from edge_fiqa.steps import Steps
from edge_fiqa.types import IMAGE, Array, Bytes, Segment

Spent = tuple[float, float, float]
"""ms, GFLOPs, mJ (NaN where not measured)."""


@dataclass(frozen=True)
class Assessment:
    """What N faces got and what it cost. E exits; everything else is (N,).

    trail: (N, E) float32 raw scores, NaN where an exit was not run. score: fused over exits 1..depth,
    NaN if a score was not finite. ms: the face's share of the time its batches took. mj: by the cost
    table, NaN without energy in it. planned: the deepest exit that the policies allowed before they
    saw a score.
    """

    trail: Array
    depth: npt.NDArray[np.intp]
    score: Array
    reason: list[Reason]
    ms: npt.NDArray[np.float64]
    gflops: npt.NDArray[np.float64]
    mj: npt.NDArray[np.float64]
    planned: int

    def __len__(self) -> int:
        return len(self.depth)


class Controller:
    """Assesses batches of faces on one engine. Not thread-safe, like its engine.

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
        """Predicted for one face by the cost table; None where it was not measured."""
        return self._cost_of_segment[segment][0]

    def route(self, depth: int, policies: Sequence[Policy]) -> Route:
        """The segments to run to exit `depth` under these policies.

        In steps where something may stop before, and where a budget in ms may choose another exit
        for the next face: then one set of loaded segments serves every depth.
        """
        watched = any(policy.watches for policy in policies)
        chosen_each_time = any(policy.needs_ms for policy in policies) and depth < self.exits[-1]
        return self._routes[depth, watched or chosen_each_time]

    def forecast(self, policies: Sequence[Policy] = ()) -> Forecast:
        """Cost of stopping at each exit, at the present load."""
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
        """The deepest exit that the policies allow, and the reason for stopping there.

        Raises ConfigError if one of them asks for an exit that this bundle does not have.
        """
        forecast = self.forecast(policies)
        limits = [policy.limit(forecast) for policy in policies]
        depth = min(limits)
        reason = next(p.reason for p, k in zip(policies, limits, strict=True) if k == depth)
        return depth, "full" if depth == self.exits[-1] and reason != "fixed" else reason

    def prepare(self, policies: Sequence[Policy] = (Fixed(),), batch: int = 1) -> None:
        """Load and warm every segment that these policies may run, so that no face pays for it.

        A budget in ms may choose any exit, so all of them are warmed. Smaller batches than `batch`,
        which are left once faces have stopped, are named to the engine and not run: where loading is
        fast it is done when they are met. What a device runs ahead is warmed as well. The load factor
        starts anew.
        """
        routes, batch = self.routes(policies), min(batch, self.engine.max_batch)
        self.engine.prepare({s for steps in routes for s in steps}, range(1, batch + 1))
        faces = np.zeros((batch, IMAGE, IMAGE, 3), np.uint8)
        for steps in routes:
            _Run(self, batch, (), steps).batch(faces, np.arange(batch), "full")
        if self.engine.run_ahead is not None:
            self.assess(faces, policies)
        self.load = LoadFactor()

    def routes(self, policies: Sequence[Policy]) -> set[Route]:
        """Every route that these policies may choose for a face."""
        depths = self.exits if any(policy.needs_ms for policy in policies) else ()
        return {self.route(depth, policies) for depth in {*depths, self.plan(policies)[0]}}

    def assess(self, faces: Bytes, policies: Sequence[Policy] = (Fixed(),)) -> Assessment:
        """(N, 112, 112, 3) uint8 RGB -> Assessment. N may be 0, or more than the engine's batch."""
        depth, reason = self.plan(policies)
        watching = [policy for policy in policies if policy.watches]
        run = _Run(self, len(faces), watching, self.route(depth, policies))
        for start in range(0, len(faces), self.engine.max_batch):
            rows = np.arange(start, min(start + self.engine.max_batch, len(faces)))
            run.batch(faces, rows, reason)
        score = fuse(run.trail, run.depth, self.fusion)
        ms, gflops, mj = run.spent.T
        return Assessment(run.trail, run.depth, score, run.reason, ms, gflops, mj, depth)

    def estimate(self, trail: Array, depth: int) -> Array:
        """(N, depth) scores -> (N,) what policies see: the estimated full score, or the fused one."""
        fused = fuse(trail, depth, self.fusion)
        return fused if self.estimator is None else self.estimator.estimate(fused, depth)

    def charge(self, segment: Segment, faces: int, ms: float) -> Spent:
        """What a segment that took `ms` cost each of `faces`; the load factor learns from it."""
        predicted, gflops, mj = self._cost_of_segment[segment]
        if predicted is not None:
            self.load.observe(predicted * faces, ms)
        return ms / faces, gflops, np.nan if mj is None else mj


class _Run:
    """The state of one call of `assess`. spent: (N, 3) ms, GFLOPs and mJ of each face."""

    def __init__(
        self, controller: Controller, faces: int, watching: Sequence[Policy], steps: Route
    ) -> None:
        self.controller, self.watching, self.steps = controller, watching, steps
        self.begin = controller.clock()
        self.trail = np.full((faces, controller.engine.config.depth), np.nan, np.float32)
        self.depth = np.zeros(faces, np.intp)
        self.reason: list[Reason] = ["full"] * faces
        self.spent = np.zeros((faces, 3))

    def batch(self, faces: Bytes, rows: npt.NDArray[np.intp], reason_at_end: Reason) -> None:
        batch = faces[rows[0] : rows[-1] + 1]
        controller, engine = self.controller, self._engine_for(batch)
        x: Bytes | Tokens = batch
        place = np.arange(len(rows))  # of each face within x: finished ones may be carried along
        estimates: Array = np.empty((len(rows), len(self.steps)), np.float32)
        spent = np.zeros(3)  # by each face that is still here: they all came together
        for number, segment in enumerate(self.steps):
            tokens, scores, ms = engine.run(segment, x)
            spent += controller.charge(segment, len(rows), ms)
            self.trail[rows, segment.exits] = scores[place]
            if number == len(self.steps) - 1:
                break
            x, last = behind(tokens), segment.last
            if not self.watching and np.isfinite(scores).all():
                continue  # in steps because those are loaded: there is nobody to ask
            estimates[:, number] = controller.estimate(self.trail[rows, :last], last)
            reasons = self._decide(estimates[:, : number + 1], number)
            going_on = np.flatnonzero([reason is None for reason in reasons])
            if len(going_on) < len(rows):
                for row, reason in zip(rows, reasons, strict=True):
                    if reason is not None:
                        self._leave(row, reason, last, spent)
                if not going_on.size:
                    return
                rows, estimates, place = rows[going_on], estimates[going_on], place[going_on]
                if engine.shrinks(x.faces, len(place)):
                    x, place = engine.keep(x, place), np.arange(len(place))
        depth = self.steps[-1].last
        for row in rows:
            broken = not np.isfinite(self.trail[row, :depth]).all()
            self._leave(row, "not_finite" if broken else reason_at_end, depth, spent)

    def _engine_for(self, faces: Bytes) -> Steps:
        """The engine, which may have run some of the steps with these faces already."""
        controller, table = self.controller, None
        if controller.engine.run_ahead is not None and self.watching:
            table = exit_table(
                self.watching,
                controller.estimator,
                controller.fusion,
                [segment.last for segment in self.steps[:-1]],
            )
        return Steps(controller.engine, controller.clock, self.steps, faces, table)

    def _decide(self, estimates: Array, number: int) -> list[Reason | None]:
        """Why each face stops after step `number`, or None. estimates: (N, number + 1)."""
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

    def _leave(self, row: int, reason: Reason, depth: int, spent: npt.NDArray[np.float64]) -> None:
        self.reason[row], self.depth[row], self.spent[row] = reason, depth, spent
