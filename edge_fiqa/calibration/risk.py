"""How wide the gate's margins must be so that early decisions seldom flip. Pure.

A flip is a decision (accept or reject) that differs from the one at full depth. A policy stops when the
estimate lies more than lambda spreads away from the gate. Learn then Test (arXiv:2110.01052; for early
exits arXiv:2405.20915): the lambdas are tested from the safest one on, each with the exact binomial
p-value of "the flip rate is above `risk`", and the last one before the first failure is taken. With
probability `confidence` over the faces it was tested on, its flip rate is at most `risk`; fixed
sequence testing needs no correction for the number of lambdas.

Faces of one person flip together. Their number and their flips are divided by the design effect, so
that the test counts them as the fewer independent faces that they are worth. No person counts for more
than MOST_FACES, in the rate that is promised and in the test: a draw of persons says nothing of a rate
that hangs on one whom it may have missed. Where a gate has few
flips, how far they come together is read from all gates' flips, and taken if it is more. With few
persons even that is uncertain, and Student's quantile takes its price (Korn and Graubard, 1998).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Array, Floats, Mask

LAMBDAS: tuple[float, ...] = tuple(float(f"{value:.4g}") for value in np.geomspace(8.0, 0.05, 64))
"""Tested in this order, safest first."""


MOST_FACES = 20.0
"""That one person counts for; the faces of one who has more weigh less, all alike."""


def certain(estimates: Array, spreads: Array, line: float, margin: float | None) -> Mask:
    """The gate's rule: is accept or reject certain? |estimate - line| > margin * spread.

    estimates, spreads: any shape (...), on the scale of the full score, as is line. margin: in spreads;
    None: nothing is certain. An estimate exactly at the margin is not, nor is one that is NaN.
    """
    if margin is None:
        return np.zeros(estimates.shape, bool)
    return np.asarray(np.abs(estimates - line) > margin * spreads)


def stops(estimates: Array, spreads: Array, tau: float, lam: float | None) -> npt.NDArray[np.intp]:
    """Position (N,) of the first decision point that is certain, the last where none is.

    estimates, spreads: (N, P), on the scale of the full score. lam: the margin, see `certain`.
    """
    done = certain(estimates, spreads, tau, lam)
    done[:, -1] = True
    return done.argmax(axis=1)


def flips(estimates: Array, spreads: Array, tau: float, lambdas: tuple[float, ...]) -> Mask:
    """(L, N): does the decision at the stop differ from that at the last decision point?"""
    accepted = estimates >= tau
    wrong = accepted != accepted[:, -1:]
    rows = np.arange(len(estimates))
    return np.stack([wrong[rows, stops(estimates, spreads, tau, lam)] for lam in lambdas])


def p_value(errors: npt.ArrayLike, faces: npt.ArrayLike, risk: float) -> Floats:
    """P(Binomial(faces, risk) <= errors): small where a flip rate above `risk` is not credible.

    Also for effective numbers, which need not be whole (DLMF 8.17.5).
    """
    from scipy.special import betainc

    n, x = np.asarray(faces, np.float64), np.asarray(errors, np.float64)
    return np.asarray(np.where(x >= n, 1.0, betainc(np.maximum(n - x, 1e-9), x + 1, 1 - risk)))


@dataclass(frozen=True)
class Variance:
    """Of flips, in faces: between groups, and if the faces were independent. Any shape, (...)."""

    between: Floats
    independent: Floats


def variance(errors: Floats, sizes: Floats) -> Variance:
    """errors: (..., R) flips in each of R groups of sizes (R,), as for surveys."""
    n, groups = sizes.sum(), len(sizes)
    rate = errors.sum(axis=-1, keepdims=True) / n
    between = np.square(errors - rate * sizes).sum(axis=-1) * groups / max(groups - 1, 1)
    return Variance(between, (n * rate * (1 - rate))[..., 0] * n / max(n - 1, 1))


def design_effect(of: Variance, sizes: Floats, confidence: float) -> Floats:
    """How many faces of these groups (R,) are worth one independent face, at least 1.

    of: (G, L) at G gates and L lambdas, the last the most eager. No flips there: a group is worth
    one face. One group: all faces are.
    """
    from scipy.special import stdtrit

    n, groups = float(sizes.sum()), len(sizes)
    if groups < 2:
        return np.full_like(of.between, n)
    measured = np.divide(
        of.between, of.independent, out=np.ones_like(of.between), where=of.independent > 0
    )
    between, independent = of.between[:, -1].sum(), of.independent[:, -1].sum()
    pooled = between / independent if independent > 0 else n / groups
    uncertain = stdtrit(groups - 1, confidence) / stdtrit(n - 1, confidence)
    return np.maximum(np.maximum(measured, pooled), 1.0) * max(uncertain, 1.0) ** 2


def fixed_sequence(p_values: npt.ArrayLike, confidence: float) -> int | None:
    """Position of the last test before the first failure; None if the first one fails."""
    failed = np.flatnonzero(np.asarray(p_values) > 1 - confidence)
    passed = int(failed[0]) if failed.size else len(np.atleast_1d(p_values))
    return passed - 1 if passed else None


@dataclass(frozen=True)
class Trial:
    """Held-out faces on which margins were tried: (G, L) effective flips and effective faces."""

    flips: Floats
    faces: Floats


def try_out(
    estimates: Array,
    spreads: Array,
    taus: Sequence[float],
    groups: npt.NDArray[np.intp],
    confidence: float,
) -> Trial:
    """Every lambda at every gate (G,). groups (N,): faces of one number are not independent.

    A group of more than MOST_FACES counts as that many, and its flips in proportion.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    sizes = np.diff(np.append(starts, len(groups))).astype(np.float64)
    weights = np.minimum(1.0, MOST_FACES / sizes)
    sizes = sizes * weights
    counts, found = [], []
    for tau in taus:
        wrong = flips(estimates[order], spreads[order], tau, LAMBDAS)
        by_group = weights * np.add.reduceat(wrong, starts, axis=1, dtype=np.float64)
        counts.append(by_group.sum(axis=1))
        found.append(variance(by_group, sizes))
    of = Variance(np.stack([v.between for v in found]), np.stack([v.independent for v in found]))
    effect = design_effect(of, sizes, confidence)
    return Trial(np.stack(counts) / effect, sizes.sum() / effect)


def choose(trial: Trial, risk: float, confidence: float) -> tuple[list[float | None], float | None]:
    """Each gate's lambda, and one for all gates. None where only full depth is safe.

    For the common one a lambda passes when every gate passes: the claim "all gates are safe" needs
    no correction for their number, as its p-value is the largest of theirs.
    """
    p_values = p_value(trial.flips, trial.faces, risk)
    each = [fixed_sequence(row, confidence) for row in p_values]
    common = fixed_sequence(p_values.max(axis=0), confidence)
    return [_lambda(found) for found in each], _lambda(common)


def faces_needed(risk: float, confidence: float) -> int:
    """Held-out faces without which no lambda can pass, even if none flips."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk))


def _lambda(position: int | None) -> float | None:
    return None if position is None else LAMBDAS[position]
