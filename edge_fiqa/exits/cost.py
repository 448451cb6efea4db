"""The cost of reaching an exit: GFLOPs by formula, measured milliseconds and millijoules. Pure.

One multiply-add counts as two FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_fiqa.exits.route import route_to
from edge_fiqa.types import PATCH, PATCHES, Segment, VitConfig


def segment_gflops(config: VitConfig, segment: Segment) -> float:
    """GFLOPs of one face through a segment: matrix products of its blocks, and stem if it is first."""
    t, d, r = config.tokens, config.width, config.mlp_ratio
    block = t * d * d * (4 + 2 * r) + 2 * t * t * d
    tail = d * d * (2 * t + 2 + 2 * r) + 2 * t * d  # K and V of all tokens, the rest of one
    macs = (segment.last - segment.first) * block + (tail if segment.tail else block)
    macs += (segment.last - segment.first + 1) * config.head_tokens * d
    if segment.first == 1:
        macs += PATCHES * 3 * PATCH * PATCH * d
    return 2e-9 * macs


@dataclass(frozen=True)
class CostTable:
    """Milliseconds, GFLOPs and, where a meter was there, millijoules of each segment.

    For one face, on one device. mj: gross, of everything that the meter measures.
    """

    ms: Mapping[Segment, float]
    gflops: Mapping[Segment, float]
    mj: Mapping[Segment, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        config: VitConfig,
        segments: Iterable[Segment],
        ms: Mapping[Segment, float],
        mj: Mapping[Segment, float] | None = None,
    ) -> CostTable:
        gflops = {segment: segment_gflops(config, segment) for segment in segments}
        return cls(ms, gflops, mj or {})

    def ms_of(self, route: Iterable[Segment]) -> float | None:
        """Predicted ms of a route, or None if one of its segments was never measured."""
        return _sum_of(self.ms, route)

    def mj_of(self, route: Iterable[Segment]) -> float | None:
        """Predicted mJ of a route, or None if one of its segments was never measured."""
        return _sum_of(self.mj, route)

    def gflops_of(self, route: Iterable[Segment]) -> float:
        return sum(self.gflops[segment] for segment in route)


def _sum_of(table: Mapping[Segment, float], route: Iterable[Segment]) -> float | None:
    costs = [table.get(segment) for segment in route]
    return None if None in costs else float(sum(cost for cost in costs if cost is not None))


def saved(costs: CostTable, depth: npt.NDArray[np.intp]) -> tuple[float, float | None]:
    """Shares of GFLOPs and ms saved by stopping at depths (N,), against full depth in one go.

    The ms are None where they were not measured.
    """
    segments, last = tuple(costs.gflops), max(segment.last for segment in costs.gflops)
    full, steps = route_to(segments, last), route_to(segments, last, in_steps=True)
    stopped, faces = np.unique(depth, return_counts=True)
    runs = [tuple(s for s in steps if s.last <= k) for k in stopped]
    gflops = np.average([costs.gflops_of(run) for run in runs], weights=faces)
    times, full_ms = [costs.ms_of(run) for run in runs], costs.ms_of(full)
    ms = None
    if full_ms is not None and None not in times:
        ms = 1 - float(np.average(np.array(times, float), weights=faces)) / full_ms
    return 1 - float(gflops) / costs.gflops_of(full), ms


class LoadFactor:
    """How much slower than its cost table the machine is now: a running geometric mean.

    Starts at 1. `share` is the weight of the newest observation; one outlier (a page fault, a
    scheduler pause) moves the factor by at most 4 ** share.
    """

    def __init__(self, share: float = 0.1) -> None:
        self.share, self.value = share, 1.0

    def observe(self, predicted_ms: float, actual_ms: float) -> None:
        if predicted_ms > 0 and actual_ms > 0:
            ratio = actual_ms / predicted_ms / self.value
            self.value *= min(max(ratio, 0.25), 4.0) ** self.share
