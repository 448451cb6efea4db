"""Where to stop: operating points of a bundle, found from what its exits are worth. Pure.

Worth is 1 - relative pAUC: 0 for leaving faces out at random, 1 for the theoretical best. Of the exits
where a bundle can stop, `max accuracy` is the one of highest worth; `balanced` and `max efficiency` are
the cheapest that keep 95 % and 80 % of that. Nothing is recommended where no exit beats chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

KEEPS = {"max efficiency": 0.80, "balanced": 0.95, "max accuracy": 1.0}


class Stop(Struct, frozen=True):
    """Stopping at an exit: mean relative pAUC of the estimate it gives, and its price for one face."""

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
    found = []
    for name, share in KEEPS.items():
        enough = [stop for stop in stops if 1 - stop.relative >= share * best - 1e-12]
        stop = min(enough, key=lambda stop: stop.gflops)
        found.append(OperatingPoint(name, stop, (1 - stop.relative) / best))
    return found
