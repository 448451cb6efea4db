"""Error versus discard as the papers computed it: the threshold follows the pairs. Pure.

Protocol `crfiqa`, that of CR-FIQA, ViT-FIQA and EX-FIQA.

At each discard of 0, 5, ... 95 % the worst pairs are left out, mated and non-mated together. FNMR is
taken at the threshold whose FMR *on the remaining pairs* is nearest to the requested FMR. So the
threshold moves with the discard, and a curve can rise when the remaining impostors are hard. For a
system with one threshold use `edge_fiqa.evaluation.edc`. This protocol is here because published tables
hold these areas.

A pair counts as a match from the threshold on, and as a non-match up to it; a mated pair at the
threshold counts as an error. Similarities are compared as float32. Pairs are discarded in the order of
their quality, one by one; equal qualities in the order of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import resolves
from edge_fiqa.types import Array, Floats, Mask

DISCARDS: Floats = np.arange(0, 1, 0.05)


@dataclass(frozen=True)
class MovingThreshold:
    """At each of DISCARDS (20,): FNMR, FMR of the nearest threshold, and remaining impostor pairs."""

    fnmr: Floats
    fmr: Floats
    impostors: npt.NDArray[np.intp]

    def area(self, limit: float = 0.95) -> float:
        """Under the straight lines between the points, from discard 0 to the last one in `limit`.

        NaN if a point in between has no mated or no non-mated pair left.
        """
        if not 0 < limit <= 1:
            raise ConfigError(f"a discard limit lies in (0, 1], got {limit}")
        used = limit + 1e-9 >= DISCARDS
        return float(np.trapezoid(self.fnmr[used], DISCARDS[used]))

    def resolves(self, fmr: float, limit: float = 0.95) -> bool:
        """Whether the impostors left resolve `fmr` at every discard up to `limit`."""
        used = limit + 1e-9 >= DISCARDS
        return all(resolves(impostors, fmr) for impostors in self.impostors[used].tolist())

    def reach(self, fmr: float) -> float:
        """The last discard up to which `fmr` is resolved; NaN if it never is."""
        far = [d for d in DISCARDS.tolist() if self.resolves(fmr, d or 1e-12)]
        return max(far, default=float("nan"))


def edc_crfiqa(
    similarity: npt.ArrayLike, same: npt.ArrayLike, pair_quality: npt.ArrayLike, fmr: float
) -> MovingThreshold:
    """similarity, same, pair_quality: (P,), mated and non-mated pairs; quality: higher is better.

    FNMR is NaN from where no mated or no non-mated pair is left. Raises ConfigError if one kind is
    missing from the start, lengths differ, or a value is not finite.
    """
    s, q = np.asarray(similarity, np.float32), np.asarray(pair_quality, np.float64)
    mated = np.asarray(same, bool)
    if not (s.ndim == 1 and s.shape == q.shape == mated.shape):
        raise ConfigError(f"lengths differ: {s.shape}, {mated.shape}, {q.shape}")
    if not (np.isfinite(s).all() and np.isfinite(q).all()):
        raise ConfigError("similarities and qualities must be finite; leave failed pairs out first")
    if not mated.any() or mated.all():
        raise ConfigError("protocol crfiqa needs mated and non-mated pairs; one kind is missing")
    leaves = np.empty(s.size, np.intp)  # place of each pair in the order of leaving
    leaves[np.argsort(q, kind="stable")] = np.arange(s.size)
    rising = np.argsort(s, kind="stable")
    s, mated, leaves = s[rising], mated[rising], leaves[rising]
    points = [_at_fmr(s[kept], mated[kept], fmr) for kept in (leaves >= c for c in _cuts(s.size))]
    fnmr, reached, impostors = zip(*points, strict=True)
    return MovingThreshold(np.array(fnmr), np.array(reached), np.array(impostors))


def _cuts(pairs: int) -> list[int]:
    return [int(discard * pairs) for discard in DISCARDS]


def _at_fmr(s: Array, mated: Mask, fmr: float) -> tuple[float, float, int]:
    """FNMR, FMR and impostors, at the lowest of the thresholds nearest to `fmr`; every similarity
    is one. s: rising."""
    genuine = int(mated.sum())
    impostors = s.size - genuine
    if not genuine or not impostors:
        return np.nan, np.nan, impostors
    ends = np.append(np.flatnonzero(s[1:] > s[:-1]), s.size - 1)  # last pair at each threshold
    passed_by = np.concatenate(([0], np.cumsum(~mated)[ends][:-1]))  # impostors below it
    reached = (impostors - passed_by) / impostors
    nearest = int(np.abs(reached - fmr).argmin())
    missed = int(np.cumsum(mated)[ends[nearest]])
    return missed / genuine, float(reached[nearest]), impostors
