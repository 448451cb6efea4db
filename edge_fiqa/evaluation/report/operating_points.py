"""Where to stop: operating points of a bundle, from what its exits are worth. Pure.

Worth is 1 - relative pAUC: 0 for leaving faces out at random, 1 for the theoretical best. Of the exits
where a bundle can stop, `max accuracy` is the one of highest worth; `balanced` and `max efficiency` are
the cheapest that keep 95 % and 80 % of that. Nothing is recommended where no exit beats chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

KEEPS = {"max efficiency": 0.80, "balanced": 0.95, "max accuracy": 1.0}


class Stop(Struct, frozen=True):
    """Stopping at an exit. relative: mean relative pAUC of its estimates. gflops, ms: of one face."""

    exit: int
    relative: float
    gflops: float
    ms: float | None


class OperatingPoint(Struct, frozen=True):
    name: str
    stop: Stop
    keeps: float  # share of the best exit's worth


def recommend(stops: Sequence[Stop]) -> list[OperatingPoint]:
    """One point per name in KEEPS, or none. Cost is GFLOPs; they rise with the exit."""
    best = max((1 - stop.relative for stop in stops), default=0.0)
    if best <= 0:
        return []
    points = []
    for name, share in KEEPS.items():
        candidates = [stop for stop in stops if 1 - stop.relative >= share * best - 1e-12]
        stop = min(candidates, key=lambda stop: stop.gflops)
        points.append(OperatingPoint(name, stop, (1 - stop.relative) / best))
    return points
