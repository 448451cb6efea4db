"""Error versus discard: how the false non-match rate falls as the worst pairs are left out. Pure.

Protocol `fixed` (arXiv:2303.13294): mated pairs only; the threshold is set once, with nothing
discarded, and never moved; a pair's quality is the lower of its two faces; pairs of equal quality
leave together; a pair is a non-match if and only if its similarity is below the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Floats


@dataclass(frozen=True)
class Edc:
    """A step curve: `fnmr[i]` holds from `discard[i]` until `discard[i + 1]`; starts at discard 0."""

    discard: Floats
    fnmr: Floats

    def at(self, discard: float) -> float:
        """FNMR of the pairs left when at most the fraction `discard` has been left out."""
        return float(self.fnmr[np.searchsorted(self.discard, discard, side="right") - 1])

    def pauc(self, limit: float) -> float:
        """Area under the steps from discard 0 to `limit`; lower is better."""
        if not 0 < limit <= 1:
            raise ConfigError(f"a discard limit lies in (0, 1], got {limit}")
        ends = np.minimum(np.append(self.discard[1:], limit), limit)
        widths = np.maximum(ends - np.minimum(self.discard, limit), 0)
        return float((self.fnmr * widths).sum())


def edc_fixed(similarity: npt.ArrayLike, pair_quality: npt.ArrayLike, threshold: float) -> Edc:
    """EDC of mated pairs at a fixed threshold. similarity, pair_quality: (P,), higher is better.

    Raises ConfigError if there are no pairs, the lengths differ or a value is not finite.
    """
    s, q = np.asarray(similarity, np.float64), np.asarray(pair_quality, np.float64)
    if s.ndim != 1 or s.shape != q.shape or not s.size:
        raise ConfigError(f"need as many similarities as qualities, got {s.shape} and {q.shape}")
    if not (np.isfinite(s).all() and np.isfinite(q).all()):
        raise ConfigError("similarities and qualities must be finite; leave failed pairs out first")
    order = np.argsort(q)  # equal qualities leave together, in any order
    errors = (s < threshold)[order]
    sorted_q = q[order]
    firsts = np.flatnonzero(np.append(True, sorted_q[1:] > sorted_q[:-1]))  # of each quality level
    remaining_errors = errors[::-1].cumsum()[::-1][firsts]
    discard = np.append(firsts / s.size, 1.0)
    return Edc(discard, np.append(remaining_errors / (s.size - firsts), 0.0))


RESOLVES = 10
"""Expected errors that a rate needs: fewer impostors than 10 / FMR do not resolve that FMR."""


def resolves(pairs: int, rate: float) -> bool:
    """Whether so many pairs are enough for an error rate."""
    return pairs * rate >= RESOLVES - 1e-9


def threshold_at_fmr(impostor: npt.ArrayLike, fmr: float) -> float:
    """Smallest threshold at which at most the fraction `fmr` of impostor pairs matches.

    A pair matches if its similarity reaches the threshold. Raises ConfigError if the impostor pairs
    are too few to resolve the rate (fewer than 10 / fmr).
    """
    s = np.sort(np.asarray(impostor, np.float64))[::-1]
    if not 0 < fmr < 1:
        raise ConfigError(f"an FMR lies between 0 and 1, got {fmr:g}")
    if not resolves(s.size, fmr):
        raise ConfigError(
            f"{s.size:,} impostor pairs cannot resolve an FMR of {fmr:g}; "
            f"that needs {int(np.ceil(RESOLVES / fmr - 1e-6)):,}"
        )
    return float(np.nextafter(s[int(fmr * s.size + 1e-9)], np.inf))


def theoretical_best(fnmr: float, limit: float) -> float:
    """Area under max(fnmr - discard, 0), which no curve passes below: every error leaves first
    (arXiv:2303.13294)."""
    reach = min(fnmr, limit)
    return fnmr * reach - reach**2 / 2


def threshold_at_fnmr(genuine: npt.ArrayLike, fnmr: float) -> float:
    """Threshold below which the fraction `fnmr` of mated pairs (P,) lies."""
    if not 0 < fnmr < 1:
        raise ConfigError(f"a starting error lies between 0 and 1, got {fnmr:g}")
    s = np.sort(np.asarray(genuine, np.float64))
    if not s.size:
        raise ConfigError("no mated pairs")
    return float(s[min(int(fnmr * s.size + 1e-9), s.size - 1)])


def relative_pauc(pauc: float, fnmr: float, limit: float) -> float:
    """pAUC on a scale that averages over data sets: 0 is the theoretical best, 1 is random discarding.

    Random discarding keeps the FNMR where it is, an area of fnmr * limit. NaN where there is no
    error to avoid.
    """
    best = theoretical_best(fnmr, limit)
    chance = fnmr * limit
    return (pauc - best) / (chance - best) if chance > best else float("nan")
