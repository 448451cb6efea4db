"""Contenders in turn, round by round: a slow moment of the machine hits them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_fiqa.types import Floats

TAIL_CALLS = 100  # fewer calls do not resolve a 99th percentile


@dataclass(frozen=True)
class Effort:
    """rounds: how often every contender has its turn, of `turn_ms` or one call, whichever is more."""

    rounds: int = 30
    turn_ms: float = 40.0
    warm_up: int = 2


USUAL = Effort()
QUICK = Effort(rounds=5, turn_ms=15.0, warm_up=1)


@dataclass(frozen=True)
class Times:
    """ms (R, C) of every call: rounds, and calls within one."""

    ms: Floats

    @property
    def rounds(self) -> Floats:
        """(R,) median of each round: what comparisons rest on."""
        return np.asarray(np.median(self.ms, axis=1))

    def percentile(self, q: float) -> float | None:
        """Over all calls; None for a tail that so few calls do not resolve."""
        if q > 95 and self.ms.size < TAIL_CALLS:
            return None
        return float(np.percentile(self.ms, q))


def in_rounds(
    contenders: Mapping[str, Callable[[], object]],
    effort: Effort = USUAL,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Time every contender in every round. A contender returns when its work is done.

    The first of its calls after another's turn finds cold caches; it is made, but not counted.
    """
    calls: dict[str, int] = {}
    for name, run in contenders.items():
        for _ in range(effort.warm_up):
            ms = _timed(run, clock)
        calls[name] = max(1, min(200, int(effort.turn_ms / max(ms, 1e-3))))
    round_ms: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for _ in range(effort.rounds):
        for name, run in contenders.items():
            run()
            round_ms[name].append([_timed(run, clock) for _ in range(calls[name])])
    return {name: Times(np.array(ms)) for name, ms in round_ms.items()}


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return 1e3 * (clock() - start)


def median_interval(
    values: Floats, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the median of rounds (R,)."""
    medians = resampled_medians(values, resamples, seed)
    low, high = np.quantile(medians, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def resampled_medians(values: Floats, resamples: int = 2000, seed: int = 0) -> Floats:
    """(resamples,) medians of rounds drawn with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(values), (resamples, len(values)))
    return np.asarray(np.median(np.asarray(values)[drawn], axis=1))
