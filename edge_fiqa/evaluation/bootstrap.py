"""Confidence intervals when a person has many pairs: whole identities are drawn, never single pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]


def resample_identities(identity: npt.ArrayLike, times: int, seed: int = 0) -> Iterator[Indices]:
    """Row numbers of `times` resamples. identity: (P,), equal for the pairs (or faces) of a person.

    Each draws as many identities as there are, with replacement, and takes all rows of each
    (cluster bootstrap; Davison and Hinkley, Bootstrap Methods, section 3.8).
    """
    number = np.unique(np.asarray(identity), return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    counts = np.bincount(number)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    for _ in range(times):
        drawn = rng.integers(0, len(counts), len(counts))
        sizes = counts[drawn]
        offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield order[np.repeat(starts[drawn], sizes) + offset]


def interval(samples: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(samples, np.float64), (tail, 1 - tail))
    return float(low), float(high)
