"""How wide the gate's margins must be so that early decisions seldom flip. Pure.

A flip is a decision (accept or reject) that differs from the one at full depth. A policy stops when the
estimate lies more than lambda spreads away from the gate. Learn then Test (arXiv:2110.01052; for early
exits arXiv:2405.20915): the lambdas are tested from the safest one on, each with the exact binomial
p-value of "the flip rate is above `risk`", and the last one before the first failure is taken. With
probability `confidence` over the faces it was tested on, its flip rate is at most `risk`; fixed
sequence testing needs no correction for the number of lambdas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Array, Mask

Counts = npt.NDArray[np.intp]
LAMBDAS: tuple[float, ...] = tuple(float(f"{value:.4g}") for value in np.geomspace(8.0, 0.05, 64))
"""Tested in this order, safest first."""


def stops(estimates: Array, spreads: Array, tau: float, lam: float | None) -> npt.NDArray[np.intp]:
    """Position (N,) of the first decision point that is certain, the last where none is.

    lam None: nothing is certain before the last.

    estimates, spreads: (N, P), on the scale of the full score.
    """
    if lam is None:
        return np.full(len(estimates), estimates.shape[1] - 1)
    certain = np.abs(estimates - tau) > lam * spreads
    certain[:, -1] = True
    return certain.argmax(axis=1)


def flips(estimates: Array, spreads: Array, tau: float, lambdas: tuple[float, ...]) -> Mask:
    """(L, N): does the decision at the stop differ from that at the last decision point?"""
    accepted = estimates >= tau
    wrong = accepted != accepted[:, -1:]
    ratio = np.full(estimates.shape, np.inf)
    ratio[:, :-1] = np.abs(estimates - tau)[:, :-1] / spreads[:, :-1]
    reached = np.maximum.accumulate(ratio, axis=1)
    rows = np.arange(len(estimates))
    return np.stack([wrong[rows, (reached > lam).argmax(axis=1)] for lam in lambdas])


def p_value(errors: npt.ArrayLike, faces: int, risk: float) -> npt.NDArray[np.float64]:
    """P(Binomial(faces, risk) <= errors): small where a flip rate above `risk` is not credible."""
    from scipy.stats import binom

    return np.asarray(binom.cdf(errors, faces, risk))


def fixed_sequence(p_values: npt.ArrayLike, confidence: float) -> int | None:
    """Position of the last test before the first failure; None if the first one fails."""
    failed = np.flatnonzero(np.asarray(p_values) > 1 - confidence)
    passed = int(failed[0]) if failed.size else len(np.atleast_1d(p_values))
    return passed - 1 if passed else None


def count_flips(estimates: Array, spreads: Array, taus: Sequence[float]) -> Counts:
    """(G, L) flips of the faces at each gate and lambda."""
    return np.stack([flips(estimates, spreads, tau, LAMBDAS).sum(axis=1) for tau in taus])


def choose(
    errors: Counts, faces: int, risk: float, confidence: float
) -> tuple[list[float | None], float | None]:
    """From flips (G, L) among `faces`: each gate's lambda, and one for all gates.

    None where only full depth is safe. For the common one a lambda passes when every gate passes: the
    claim "all gates are safe" needs no correction for their number, as its p-value is the largest
    of theirs.
    """
    p_values = p_value(errors, faces, risk)
    each = [fixed_sequence(row, confidence) for row in p_values]
    common = fixed_sequence(p_values.max(axis=0), confidence)
    return [_lambda(found) for found in each], _lambda(common)


def faces_needed(risk: float, confidence: float) -> int:
    """Held-out faces without which no lambda can pass, even if none flips."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk))


def _lambda(position: int | None) -> float | None:
    return None if position is None else LAMBDAS[position]
