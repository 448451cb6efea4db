"""What each gate 0..100 means: the share of faces that passes it, and the recognition error above it.

Faces of one kind of use (portraits, a door, a street) are counted by themselves, since one gate loses
few of one and most of another.
A pair passes a gate if the lower of its two qualities does. Its FNMR is that of the mated pairs that
pass, at a threshold which is set once, on all impostor pairs, and never moved (arXiv:2303.13294).

Intervals are Wilson's of 95 % (1927), with numbers divided by the design effect, since faces and pairs
of one person pass and fail together (Korn and Graubard 1998). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edge_fiqa.calibration.risk import variance
from edge_fiqa.calibration.scale import Qualities
from edge_fiqa.types import Floats, Mask

GATES: Final = np.arange(101)
OWN_FACES: Final = "own"
"""The kind of use of faces that somebody calibrates on and gives no name to."""
LEAST_PAIRS: Final = 30
DEVIATIONS: Final = 1.959964  # of the normal distribution, for 95 %
DIGITS: Final = 5

PerGate = Annotated[
    tuple[Annotated[float, Meta(ge=0, le=1)] | None, ...], Meta(min_length=101, max_length=101)
]
"""A share for each gate 0..100; None where too few are counted to say one."""


class GateRates(Struct, frozen=True, forbid_unknown_fields=True):
    """A rate at each gate, with the ends of its interval of 95 %."""

    rate: PerGate
    low: PerGate
    high: PerGate

    def text(self, gate: int, digits: int = 1) -> str:
        """`12.3 % (11.0 to 13.7)`, or NA."""
        rate, low, high = self.rate[gate], self.low[gate], self.high[gate]
        if rate is None or low is None or high is None:
            return "NA"
        return f"{100 * rate:.{digits}f} % ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


class RemainingErrors(Struct, frozen=True, forbid_unknown_fields=True):
    """fnmr: of the mated pairs that pass, at FMR `fmr` of all impostor pairs.

    A pair is a face of the table's first kind of use, as it may be enrolled, and one of this kind.
    recogniser: its file. pairs: mated ones that pass each gate. impostors: pairs of two persons.
    """

    recogniser: str
    fmr: float
    pairs: Annotated[tuple[int, ...], Meta(min_length=101, max_length=101)]
    impostors: int
    fnmr: GateRates


class KindOfUse(Struct, frozen=True, forbid_unknown_fields=True):
    """passing: share of its faces with a quality of at least the gate. images: what they were."""

    name: str
    images: str
    faces: int
    persons: int
    passing: GateRates
    errors: RemainingErrors | None = None


class GateTable(Struct, frozen=True, forbid_unknown_fields=True):
    """rule: the fusion rule whose qualities these are, at full depth."""

    rule: str
    uses: Annotated[tuple[KindOfUse, ...], Meta(min_length=1)]


def kind_of_use(
    quality: Qualities,
    persons: Sequence[str],
    *,
    name: str,
    images: str,
    errors: RemainingErrors | None = None,
) -> KindOfUse:
    """quality: (N,) at full depth, -1 of a face without a score. persons: N names."""
    passes = quality >= GATES[:, None]
    rates = gate_rates(passes, np.ones_like(passes), persons, least=1)
    return KindOfUse(name, images, len(quality), len(set(persons)), rates, errors)


def table_of_own(quality: Qualities, persons: Sequence[str], images: str, rule: str) -> GateTable:
    """Of the faces that somebody calibrates on, without pairs."""
    return GateTable(rule, (kind_of_use(quality, persons, name=OWN_FACES, images=images),))


def remaining_errors(
    pair_quality: Qualities,
    non_match: Mask,
    persons: Sequence[str],
    *,
    recogniser: str,
    fmr: float,
    impostors: int,
) -> RemainingErrors:
    """Of mated pairs (P,), persons: whose each is. Rates of fewer than LEAST_PAIRS pairs are None."""
    passes = pair_quality >= GATES[:, None]
    rates = gate_rates(passes & non_match, passes, persons, least=LEAST_PAIRS)
    counts = tuple(int(count) for count in passes.sum(axis=1))
    return RemainingErrors(recogniser, fmr, counts, impostors, rates)


def gate_rates(hits: Mask, counted: Mask, persons: Sequence[str], least: int) -> GateRates:
    """hits, counted: (101, N), hits among those counted. None where fewer than `least` are counted."""
    number = np.unique(np.asarray(persons), return_inverse=True)[1]
    own_hits = _by_person(hits, number)
    own_counted = _by_person(counted, number)
    totals = own_counted.sum(axis=1)
    enough = totals >= max(least, 1)
    rate = own_hits.sum(axis=1) / np.maximum(totals, 1)
    effective = totals / _design_effect(own_hits, own_counted)
    low, high = wilson(rate, np.maximum(effective, 1e-9))
    return GateRates(*(_per_gate(values, enough) for values in (rate, low, high)))


def wilson(rate: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Ends of the 95 % interval of a rate among `count`, which need not be whole."""
    square = DEVIATIONS**2 / count
    middle = (rate + square / 2) / (1 + square)
    half = np.sqrt(rate * (1 - rate) * square + square**2 / 4) / (1 + square)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def _by_person(flags: Mask, number: npt.NDArray[np.intp]) -> Floats:
    """(G, N) -> (G, R): how many flags each person has."""
    return np.stack([np.bincount(number, row, number.max() + 1) for row in flags])


def _design_effect(hits: Floats, counted: Floats) -> Floats:
    """(G,) how many of these count as one independent one, at least 1. hits, counted: (G, R).

    A gate with few hits says little of it: that over all gates is taken where it is larger.
    """
    persons = (counted > 0).sum(axis=1)
    rows = [_variance_at(own[n > 0], n[n > 0]) for own, n in zip(hits, counted, strict=True)]
    between, independent = np.array(rows).T
    measured = np.divide(between, independent, out=np.ones(len(rows)), where=independent > 0)
    pooled = between.sum() / independent.sum() if independent.sum() > 0 else 1.0
    alone = np.where(persons > 1, 1.0, counted.sum(axis=1))  # all faces of one person: one
    return np.maximum(np.maximum(measured, pooled), np.maximum(alone, 1.0))


def _variance_at(hits: Floats, sizes: Floats) -> tuple[float, float]:
    if len(sizes) < 2:
        return 0.0, 0.0
    spread = variance(hits, sizes)
    return float(spread.between), float(spread.independent)


def _per_gate(values: Floats, enough: Mask) -> tuple[float | None, ...]:
    return tuple(
        round(float(value), DIGITS) if known else None
        for value, known in zip(values, enough, strict=True)
    )
