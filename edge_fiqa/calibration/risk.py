"""How wide the gate's margins must be so that early decisions seldom flip. Pure.

A flip is a decision (accept or reject) that differs from the one at full depth. A policy stops when the
estimate lies more than lambda spreads away from the gate.

Lambda is chosen by Learn then Test (arXiv:2110.01052; for early exits arXiv:2405.20915). The lambdas
are tested from the safest one on. Each test is the exact binomial p-value of "the flip rate is above
`risk`". The last lambda before the first failure is taken. With probability `confidence` over the faces
of the test, its flip rate is at most `risk`. Fixed sequence testing needs no correction for the number
of lambdas.

Faces of one person flip together, so they count as fewer independent faces:
- Numbers of faces and of flips are divided by the design effect (Korn and Graubard, 1998).
- The weight of one person is at most MOST_FACES, in the promised rate and in the test. Otherwise the
  rate could depend on one person whom the drawn faces do not contain.
- A gate with few flips says little of its design effect. The design effect over all gates is then
  taken, if it is larger.
- With few persons even that is uncertain. Student's quantile accounts for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Array, Floats, Mask, Rows

LAMBDAS: tuple[float, ...] = tuple(float(f"{value:.4g}") for value in np.geomspace(8.0, 0.05, 64))
"""Tested in this order, safest first."""

MOST_FACES = 20.0
"""Largest total weight of one person's faces. With n > MOST_FACES, each weighs MOST_FACES / n."""


def certain(estimates: Array, spreads: Array, line: float, margin: float | None) -> Mask:
    """The gate's rule: is accept or reject certain? |estimate - line| > margin * spread.

    estimates, spreads: any shape (...), on the scale of the full score. line: on the same scale.
    margin: in spreads; None: nothing is certain. An estimate exactly at the margin is not certain. An
    estimate that is NaN is not certain.
    """
    if margin is None:
        return np.zeros(estimates.shape, bool)
    return np.asarray(np.abs(estimates - line) > margin * spreads)


def stops(estimates: Array, spreads: Array, tau: float, lam: float | None) -> Rows:
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

    The numbers may be effective numbers, which need not be whole (DLMF 8.17.5).
    """
    from scipy.special import betainc

    n, x = np.asarray(faces, np.float64), np.asarray(errors, np.float64)
    return np.asarray(np.where(x >= n, 1.0, betainc(np.maximum(n - x, 1e-9), x + 1, 1 - risk)))


@dataclass(frozen=True)
class Variance:
    """Of the number of flips, in faces: between groups, and for independent faces. Shape (...)."""

    between: Floats
    independent: Floats


def variance(errors: Floats, sizes: Floats) -> Variance:
    """errors: (..., R) flips in each of R groups of sizes (R,), as for surveys."""
    n, groups = sizes.sum(), len(sizes)
    rate = errors.sum(axis=-1, keepdims=True) / n
    between = np.square(errors - rate * sizes).sum(axis=-1) * groups / max(groups - 1, 1)
    return Variance(between, (n * rate * (1 - rate))[..., 0] * n / max(n - 1, 1))


def design_effect(flips: Variance, sizes: Floats, confidence: float) -> Floats:
    """How many faces of these groups count as one independent face: (G, L), at least 1.

    flips: variance (G, L) at G gates and L lambdas; the last lambda stops the earliest. sizes: (R,).
    Where the last lambda has no flips, a whole group counts as one face. With a single group, all its
    faces count as one.
    """
    from scipy.special import stdtrit

    n, groups = float(sizes.sum()), len(sizes)
    if groups < 2:
        return np.full_like(flips.between, n)
    measured = np.divide(
        flips.between,
        flips.independent,
        out=np.ones_like(flips.between),
        where=flips.independent > 0,
    )
    between, independent = flips.between[:, -1].sum(), flips.independent[:, -1].sum()
    pooled = between / independent if independent > 0 else n / groups
    few_groups = stdtrit(groups - 1, confidence) / stdtrit(n - 1, confidence)
    return np.maximum(np.maximum(measured, pooled), 1.0) * max(few_groups, 1.0) ** 2


def fixed_sequence(p_values: npt.ArrayLike, confidence: float) -> int | None:
    """Position of the last test before the first failure; None if the first one fails."""
    failed = np.flatnonzero(np.asarray(p_values) > 1 - confidence)
    passed = int(failed[0]) if failed.size else len(np.atleast_1d(p_values))
    return passed - 1 if passed else None


@dataclass(frozen=True)
class FlipCounts:
    """Effective flips and effective held-out faces, (G, L) each, at G gates and L lambdas."""

    flips: Floats
    faces: Floats


def count_flips(
    estimates: Array,
    spreads: Array,
    taus: Sequence[float],
    groups: Rows,
    confidence: float,
) -> FlipCounts:
    """Flips of every lambda at every gate (G,), of held-out faces (N, P).

    groups: (N,); faces of one group number are not independent. A group of more than MOST_FACES counts
    as that many faces, and its flips in proportion.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    sizes = np.diff(np.append(starts, len(groups))).astype(np.float64)
    weights = np.minimum(1.0, MOST_FACES / sizes)
    sizes = sizes * weights
    counts, variances = [], []
    for tau in taus:
        wrong = flips(estimates[order], spreads[order], tau, LAMBDAS)
        by_group = weights * np.add.reduceat(wrong, starts, axis=1, dtype=np.float64)
        counts.append(by_group.sum(axis=1))
        variances.append(variance(by_group, sizes))
    all_gates = Variance(
        np.stack([v.between for v in variances]), np.stack([v.independent for v in variances])
    )
    effect = design_effect(all_gates, sizes, confidence)
    return FlipCounts(np.stack(counts) / effect, sizes.sum() / effect)


def choose_lambdas(
    counts: FlipCounts, risk: float, confidence: float
) -> tuple[list[float | None], float | None]:
    """Each gate's lambda, and one lambda for all gates. None where only full depth is safe.

    The lambda for all gates passes a test when every gate passes it. The p-value of the claim "all
    gates are safe" is the largest of the gates' p-values, so their number needs no correction.
    """
    p_values = p_value(counts.flips, counts.faces, risk)
    each = [fixed_sequence(row, confidence) for row in p_values]
    common = fixed_sequence(p_values.max(axis=0), confidence)
    return [_lambda(position) for position in each], _lambda(common)


def faces_needed(risk: float, confidence: float) -> int:
    """The fewest held-out faces with which a lambda can pass, if none of them flips."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk))


def _lambda(position: int | None) -> float | None:
    return None if position is None else LAMBDAS[position]
