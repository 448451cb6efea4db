"""How wide the gate's margins must be so that early decisions seldom flip. Pure.

A flip is a decision (accept or reject) that differs from the one at full depth. A policy stops when the
estimate lies more than `margin` spreads away from the threshold, which is the gate on the scale of the
full score.

The margin (lambda in the papers) is chosen by Learn then Test (arXiv:2110.01052; for early exits
arXiv:2405.20915). The margins are tested from the safest one on. Each test is the exact binomial
p-value of "the flip rate is above `risk`". The last margin before the first failure is taken. With
probability `confidence` over the faces of the test, its flip rate is at most `risk`. Fixed sequence
testing needs no correction for the number of margins.

Faces of one person flip together, so they count as fewer independent faces:
- Numbers of faces and of flips are divided by the design effect (Korn and Graubard, 1998).
- One person counts as at most MOST_FACES faces, both in the rate we promise and in the test. Else a
  person who is not in the sample could change the true rate.
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

MARGINS: tuple[float, ...] = tuple(float(f"{value:.4g}") for value in np.geomspace(8.0, 0.05, 64))
"""Tested in this order, safest first."""

MOST_FACES = 20.0
"""One person counts as at most so many faces. With n > MOST_FACES, each face weighs MOST_FACES / n."""


def certain(estimates: Array, spreads: Array, threshold: float, margin: float | None) -> Mask:
    """Apply the gate's rule: is accept or reject certain? |estimate - threshold| > margin * spread.

    estimates, spreads: any shape (...), on the scale of the full score. threshold: on the same scale.
    margin: in spreads; None: nothing is certain. An estimate exactly at the margin is not certain. An
    estimate that is NaN is not certain.
    """
    if margin is None:
        return np.zeros(estimates.shape, bool)
    return np.asarray(np.abs(estimates - threshold) > margin * spreads)


def stops(estimates: Array, spreads: Array, threshold: float, margin: float | None) -> Rows:
    """Return the position (N,) of the first decision point that is certain, the last where none is.

    estimates, spreads: (N, P), on the scale of the full score. threshold, margin: see `certain`.
    """
    done = certain(estimates, spreads, threshold, margin)
    done[:, -1] = True
    return done.argmax(axis=1)


def is_flip(estimates: Array, spreads: Array, threshold: float, margins: tuple[float, ...]) -> Mask:
    """Return (M, N): with each of M margins, is the decision at the stop other than at full depth?

    estimates, spreads: (N, P); the last of the P decision points is full depth.
    """
    accepted = estimates >= threshold
    wrong = accepted != accepted[:, -1:]
    rows = np.arange(len(estimates))
    return np.stack(
        [wrong[rows, stops(estimates, spreads, threshold, margin)] for margin in margins]
    )


def p_value(flips: npt.ArrayLike, faces: npt.ArrayLike, risk: float) -> Floats:
    """Return P(Binomial(faces, risk) <= flips): small where a flip rate above `risk` is not credible.

    The numbers may be effective numbers, which need not be whole (DLMF 8.17.5).
    """
    from scipy.special import betainc

    n, x = np.asarray(faces, np.float64), np.asarray(flips, np.float64)
    return np.asarray(np.where(x >= n, 1.0, betainc(np.maximum(n - x, 1e-9), x + 1, 1 - risk)))


@dataclass(frozen=True)
class Variance:
    """Holds the variance of the number of flips, in faces. Shape (...).

    between: as measured between groups. independent: what it would be if faces were independent.
    """

    between: Floats
    independent: Floats


def variance(flips: Floats, sizes: Floats) -> Variance:
    """Estimate the variance as surveys do, from the flips (..., R) in R groups of sizes (R,)."""
    n, groups = sizes.sum(), len(sizes)
    rate = flips.sum(axis=-1, keepdims=True) / n
    between = np.square(flips - rate * sizes).sum(axis=-1) * groups / max(groups - 1, 1)
    return Variance(between, (n * rate * (1 - rate))[..., 0] * n / max(n - 1, 1))


def design_effect(flip_variance: Variance, sizes: Floats, confidence: float) -> Floats:
    """Return how many faces of these groups count as one independent face: (G, M), at least 1.

    flip_variance: (G, M) at G gates and M margins; the last margin stops the earliest. sizes: (R,).
    Where the last margin has no flips, a whole group counts as one face. With a single group, all its
    faces count as one.
    """
    from scipy.special import stdtrit

    n, groups = float(sizes.sum()), len(sizes)
    if groups < 2:
        return np.full_like(flip_variance.between, n)
    # Where all faces flip or none does, both variances are 0, and the effect is at least 1 anyway.
    some_flip = flip_variance.independent > 0
    measured = flip_variance.between / np.where(some_flip, flip_variance.independent, 1.0)
    between, independent = (
        flip_variance.between[:, -1].sum(),
        flip_variance.independent[:, -1].sum(),
    )
    pooled = between / independent if independent > 0 else n / groups
    few_groups = stdtrit(groups - 1, confidence) / stdtrit(n - 1, confidence)
    return np.maximum(np.maximum(measured, pooled), 1.0) * max(few_groups, 1.0) ** 2


def fixed_sequence(p_values: npt.ArrayLike, confidence: float) -> int | None:
    """Return the position of the last test before the first failure; None if the first test fails."""
    failed = np.flatnonzero(np.asarray(p_values) > 1 - confidence)
    passed = int(failed[0]) if failed.size else len(np.atleast_1d(p_values))
    return passed - 1 if passed else None


@dataclass(frozen=True)
class FlipCounts:
    """Holds numbers of flips and of held-out faces, (G, M) each, at G gates and M margins.

    Both are divided by the design effect.
    """

    effective_flips: Floats
    effective_faces: Floats


def count_flips(
    estimates: Array,
    spreads: Array,
    thresholds: Sequence[float],
    groups: Rows,
    confidence: float,
) -> FlipCounts:
    """Count the flips of held-out faces (N, P) with every margin, at every gate.

    thresholds: (G,), the gates on the scale of the full score. groups: (N,); faces of one group number
    are not independent. A group of more than MOST_FACES counts as that many faces, and its flips in
    proportion.
    """
    order = np.argsort(groups)
    _, starts, faces = np.unique(groups[order], return_index=True, return_counts=True)
    sizes = faces.astype(np.float64)
    weights = np.minimum(1.0, MOST_FACES / sizes)
    sizes = sizes * weights
    counts, variances = [], []
    for threshold in thresholds:
        flipped = is_flip(estimates[order], spreads[order], threshold, MARGINS)
        by_group = weights * np.add.reduceat(flipped, starts, axis=1, dtype=np.float64)
        counts.append(by_group.sum(axis=1))
        variances.append(variance(by_group, sizes))
    all_gates = Variance(
        np.stack([v.between for v in variances]), np.stack([v.independent for v in variances])
    )
    effect = design_effect(all_gates, sizes, confidence)
    return FlipCounts(np.stack(counts) / effect, sizes.sum() / effect)


def choose_margins(
    counts: FlipCounts, risk: float, confidence: float
) -> tuple[list[float | None], float | None]:
    """Choose each gate's margin, and one margin for all gates. None where only full depth is safe.

    The margin for all gates passes a test when every gate passes it. The p-value of the claim "all
    gates are safe" is the largest of the gates' p-values, so their number needs no correction.
    """
    p_values = p_value(counts.effective_flips, counts.effective_faces, risk)
    each = [fixed_sequence(row, confidence) for row in p_values]
    common = fixed_sequence(p_values.max(axis=0), confidence)
    return [_margin_at(position) for position in each], _margin_at(common)


def faces_needed(risk: float, confidence: float) -> int:
    """Return the fewest held-out faces with which a margin can pass, if none of them flips."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk))


def _margin_at(position: int | None) -> float | None:
    return None if position is None else MARGINS[position]
