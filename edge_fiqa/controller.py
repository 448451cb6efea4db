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
from edge_fiqa.fusion import Fusion, check_weights, fuse
from edge_fiqa.policy import Fixed, Forecast, Policy, Progress, Reason, first_to_stop
from edge_fiqa.types import IMAGE, Array, Bytes, Segment


@dataclass(frozen=True)
class Assessment:
    """What N faces got and what it cost. E exits; everything else is (N,).

    trail: (N, E) float32 raw scores, NaN where an exit was not run. score: fused over exits 1..depth,
    NaN if a score was not finite. ms: the face's share of the time its batches took. mj: by the cost
    table, NaN without energy in it. planned: the deepest exit that the
    policies allowed before they saw a score.
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

    def route(self, depth: int, policies: Sequence[Policy]) -> route.Route:
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

        A budget in ms may choose any exit, so all of them are warmed. The load factor starts anew.
        """
        depths = self.exits if any(policy.needs_ms for policy in policies) else ()
        faces = np.zeros((batch, IMAGE, IMAGE, 3), np.uint8)
        for depth in {*depths, self.plan(policies)[0]}:
            run = _Run(self, batch, (), self.route(depth, policies))
            run.batch(faces, np.arange(batch), "full")
        self.load = LoadFactor()

    def assess(self, faces: Bytes, policies: Sequence[Policy] = (Fixed(),)) -> Assessment:
        """(N, 112, 112, 3) uint8 RGB -> Assessment. N may be 0, or more than the engine's batch."""
        depth, reason = self.plan(policies)
        watching = [policy for policy in policies if policy.watches]
        run = _Run(self, len(faces), watching, self.route(depth, policies))
        for start in range(0, len(faces), self.engine.max_batch):
            rows = np.arange(start, min(start + self.engine.max_batch, len(faces)))
            run.batch(faces, rows, reason)
        score = fuse(run.trail, run.depth, self.fusion)
        return Assessment(
            run.trail, run.depth, score, run.reason, run.ms, run.gflops, run.mj, depth
        )


class _Run:
    """The state of one call of `assess`."""

    def __init__(
        self, controller: Controller, faces: int, watching: Sequence[Policy], steps: route.Route
    ) -> None:
        self.controller, self.watching, self.steps = controller, watching, steps
        self.begin = controller.clock()
        self.trail = np.full((faces, controller.engine.config.depth), np.nan, np.float32)
        self.depth = np.zeros(faces, np.intp)
        self.reason: list[Reason] = ["full"] * faces
        self.ms, self.gflops, self.mj = np.zeros(faces), np.zeros(faces), np.zeros(faces)

    def batch(self, faces: Bytes, rows: npt.NDArray[np.intp], reason_at_end: Reason) -> None:
        engine = self.controller.engine
        x: Bytes | Tokens = faces[rows[0] : rows[-1] + 1]
        place = np.arange(len(rows))  # of each face within x: finished ones may be carried along
        estimates: Array = np.empty((len(rows), 0), np.float32)
        for number, segment in enumerate(self.steps):
            start = self.controller.clock()
            tokens, scores = engine.run(segment, x)
            self._account(segment, rows, 1e3 * (self.controller.clock() - start))
            self.trail[rows, segment.exits] = scores[place]
            self.depth[rows] = segment.last
            if number == len(self.steps) - 1:
                break
            fused = fuse(self.trail[rows], segment.last, self.controller.fusion)
            if (estimator := self.controller.estimator) is not None:
                fused = estimator.estimate(fused, segment.last)
            estimates = np.column_stack((estimates, fused))
            going_on = self._decide(rows, estimates, number)
            if not going_on.size:
                return
            x = behind(tokens)
            if len(going_on) < len(rows):
                rows, estimates, place = rows[going_on], estimates[going_on], place[going_on]
                if engine.computed(len(place)) < engine.computed(x.faces):
                    x, place = engine.keep(x, place), np.arange(len(place))
        for row in rows:
            broken = not np.isfinite(self.trail[row, : self.depth[row]]).all()
            self.reason[row] = "not_finite" if broken else reason_at_end

    def _decide(
        self, rows: npt.NDArray[np.intp], estimates: Array, number: int
    ) -> npt.NDArray[np.intp]:
        """Positions within `rows` that go on; the others get their reason."""
        following = self.controller.costs.ms_of(self.steps[number + 1 : number + 2])
        progress = Progress(
            estimates,
            self.steps[number].last,
            1e3 * (self.controller.clock() - self.begin),
            None if following is None else following * self.controller.load.value * len(rows),
        )
        reasons = first_to_stop(self.watching, progress)
        for position in np.flatnonzero(np.isnan(estimates[:, -1])):
            reasons[position] = "not_finite"
        for row, reason in zip(rows, reasons, strict=True):
            self.reason[row] = reason or self.reason[row]
        return np.flatnonzero([reason is None for reason in reasons])

    def _account(self, segment: Segment, rows: npt.NDArray[np.intp], ms: float) -> None:
        costs = self.controller.costs
        self.ms[rows] += ms / len(rows)
        self.gflops[rows] += costs.gflops[segment]
        self.mj[rows] += costs.mj.get(segment, np.nan)
        if (predicted := costs.ms_of((segment,))) is not None:
            self.controller.load.observe(predicted * len(rows), ms)
