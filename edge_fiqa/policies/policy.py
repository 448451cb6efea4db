"""Policies: how deep to go, and when to stop. Pure: numbers in, decisions out, no clock, no I/O.

Before anything runs, `limit` gives the deepest exit that the policy can need. The route then ends
there with a cheap tail. After each segment, `stop` marks the faces that are done; only policies with
`watches` are asked. A policy with `needs_ms` reads the cost table's milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from edge_fiqa.arguments import check_positive, whole_number
from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array, Mask

Reason = Literal[
    "fixed", "full", "convergence", "budget", "deadline", "gate", "audit", "not_finite"
]


@dataclass(frozen=True)
class Forecast:
    """Predicted cost of one face at each exit. exits: rising. ms, mj: None where not measured."""

    exits: tuple[int, ...]
    gflops: tuple[float, ...]
    ms: tuple[float, ...] | None
    mj: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Progress:
    """The state of the faces that still run, after a segment.

    estimates: (N, P) estimated full fused score at each of the P decision points so far, newest
    last; the fused score as it is, where the model has no calibration.
    elapsed_ms: since the call began. next_ms: predicted for the next segment, None if not measured.
    """

    estimates: Array
    depth: int
    elapsed_ms: float
    next_ms: float | None


class Policy(Protocol):
    @property
    def reason(self) -> Reason: ...

    @property
    def watches(self) -> bool: ...

    @property
    def needs_ms(self) -> bool: ...

    def limit(self, forecast: Forecast) -> int: ...

    def stop(self, progress: Progress) -> Mask: ...


class _Planned:
    """A policy whose depth is known before it starts."""

    watches = False

    def stop(self, progress: Progress) -> Mask:
        return np.zeros(len(progress.estimates), bool)


@dataclass(frozen=True)
class Fixed(_Planned):
    """Stop after block `depth`; None is the full network."""

    depth: int | None = None
    needs_ms = False

    def __post_init__(self) -> None:
        if self.depth is not None:
            whole_number("an exit", self.depth)

    @property
    def reason(self) -> Reason:
        return "full" if self.depth is None else "fixed"

    def limit(self, forecast: Forecast) -> int:
        deepest = forecast.exits[-1]
        if self.depth is None:
            return deepest
        if self.depth not in forecast.exits:
            known = ", ".join(map(str, forecast.exits))
            raise ConfigError(f"exit {self.depth} does not exist; this bundle can stop at {known}")
        return self.depth


@dataclass(frozen=True)
class Budget(_Planned):
    """Stop at the deepest exit whose predicted cost fits. Where none fits, at the first one."""

    ms: float | None = None
    gflops: float | None = None
    mj: float | None = None
    reason: Reason = "budget"

    def __post_init__(self) -> None:
        stated = (("ms", self.ms), ("GFLOPs", self.gflops), ("mJ", self.mj))
        if all(value is None for _, value in stated):
            raise ConfigError("a budget needs --budget-ms, --budget-gflops or --budget-mj")
        for name, value in stated:
            if value is not None:
                check_positive(f"a budget in {name}", value)

    @property
    def needs_ms(self) -> bool:
        return self.ms is not None

    def limit(self, forecast: Forecast) -> int:
        fits = np.ones(len(forecast.exits), bool)
        if self.gflops is not None:
            fits &= np.array(forecast.gflops) <= self.gflops
        if self.ms is not None:
            if forecast.ms is None:
                raise ConfigError("a budget in ms needs the bundle's measured cost table")
            fits &= np.array(forecast.ms) <= self.ms
        if self.mj is not None:
            if forecast.mj is None:
                raise ConfigError(
                    "a budget in mJ needs energy measured on this device; where it has a meter, "
                    "run edge-fiqa bench --update-costs"
                )
            fits &= np.array(forecast.mj) <= self.mj
        return forecast.exits[int(np.flatnonzero(fits)[-1]) if fits.any() else 0]


class _Watching:
    watches = True

    def limit(self, forecast: Forecast) -> int:
        return forecast.exits[-1]


@dataclass(frozen=True)
class Convergence(_Watching):
    """Stop once the estimate moved less than `eps` at each of the last `patience` decisions."""

    eps: float = 0.05
    patience: int = 2
    reason: Reason = "convergence"
    needs_ms = False

    def __post_init__(self) -> None:
        check_positive("eps of convergence", self.eps)
        whole_number("patience of convergence", self.patience, 1)

    def stop(self, progress: Progress) -> Mask:
        if progress.estimates.shape[1] <= self.patience:
            return np.zeros(len(progress.estimates), bool)
        moves = np.abs(np.diff(progress.estimates[:, -self.patience - 1 :], axis=1))
        return np.asarray((moves < self.eps).all(axis=1))


@dataclass(frozen=True)
class Deadline(_Watching):
    """Stop when the next segment would end after `ms` from the start of the call."""

    ms: float
    reason: Reason = "deadline"
    needs_ms = True

    def __post_init__(self) -> None:
        check_positive("a deadline in ms", self.ms)

    def stop(self, progress: Progress) -> Mask:
        late = progress.elapsed_ms + (progress.next_ms or 0.0) > self.ms
        return np.full(len(progress.estimates), late)


def first_to_stop(policies: Sequence[Policy], progress: Progress) -> list[Reason | None]:
    """Per face: the reason of the first policy that stops it, or None to go on."""
    reasons: list[Reason | None] = [None] * len(progress.estimates)
    for policy in policies:
        for row in np.flatnonzero(policy.stop(progress)):
            reasons[row] = reasons[row] or policy.reason
    return reasons
