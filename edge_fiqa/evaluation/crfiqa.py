"""Error versus discard as CR-FIQA, ViT-FIQA and EX-FIQA computed it: the threshold follows the pairs. Pure.

At each discard of 0, 5, ... 95 % the worst pairs, mated and non-mated together, are left out, and
FNMR is taken at the threshold whose FMR *on the pairs left* is nearest to the one asked for. So a
threshold moves with the discard, and a curve can rise when the impostors left are hard ones; for
what a deployed system with one threshold sees, use `edge_fiqa.evaluation.edc`. It is here because
published tables hold these areas.

A pair counts as a match from the threshold on, and as a non-match up to it; a mated pair at the
threshold counts as an error. Similarities are compared as float32. Pairs leave in the order of their
quality, one by one; equal qualities leave in the order given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError

Floats = npt.NDArray[np.float64]
DISCARDS: Floats = np.arange(0, 1, 0.05)


@dataclass(frozen=True)
class MovingThreshold:
    """FNMR (20,) at each of DISCARDS, and the FMR (20,) that the nearest threshold really had."""

    fnmr: Floats
    fmr: Floats

    def area(self, limit: float = 0.95) -> float:
        """Under the straight lines between the points, from discard 0 to the last one within `limit`."""
        used = limit + 1e-9 >= DISCARDS
        return float(np.trapezoid(self.fnmr[used], DISCARDS[used]))


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
    order = np.argsort(q, kind="stable")
    points = np.array(
        [
            _at_fmr(s[kept], mated[kept], fmr)
            for kept in (order[int(d * s.size) :] for d in DISCARDS)
        ]
    )
    return MovingThreshold(points[:, 0], points[:, 1])


def _at_fmr(s: npt.NDArray[np.float32], mated: npt.NDArray[np.bool_], fmr: float) -> list[float]:
    """FNMR, and FMR, at the lowest of the thresholds nearest to `fmr`; every score is one."""
    if not mated.any() or mated.all():
        return [np.nan, np.nan]
    thresholds = np.unique(s)
    impostors, genuine = np.sort(s[~mated]), np.sort(s[mated])
    reached = (impostors.size - np.searchsorted(impostors, thresholds, "left")) / impostors.size
    nearest = np.abs(reached - fmr).argmin()
    missed = np.searchsorted(genuine, thresholds[nearest], "right")
    return [missed / genuine.size, float(reached[nearest])]
