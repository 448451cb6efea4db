"""Confidence intervals when a person has many pairs: whole identities are drawn, never single pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Floats, Rows


def resample_identities(identity: npt.ArrayLike, times: int, seed: int = 0) -> Iterator[Rows]:
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


def identity_weights(identity: npt.ArrayLike, times: int, seed: int = 0) -> Floats:
    """(times, P): how often each row is in each resample."""
    identity = np.asarray(identity)
    rows = resample_identities(identity, times, seed)
    return np.array([np.bincount(own, minlength=identity.size) for own in rows], np.float64)


def weighted_pauc(
    similarity: npt.ArrayLike,
    pair_quality: npt.ArrayLike,
    threshold: float,
    limit: float,
    weights: Floats,
) -> Floats:
    """(R,) areas of `edc_fixed(...).pauc(limit)` for R resamples of mated pairs (P,), all at once.

    weights: (R, P), how often each pair is there; no row may be all 0.
    """
    s, q = np.asarray(similarity, np.float64), np.asarray(pair_quality, np.float64)
    order = np.argsort(q, kind="stable")
    q = q[order]
    firsts = np.flatnonzero(np.append(True, q[1:] > q[:-1]))
    at_level = np.add.reduceat(weights[:, order], firsts, axis=1)
    wrong = np.add.reduceat(weights[:, order] * (s < threshold)[order], firsts, axis=1)
    pairs = at_level[:, ::-1].cumsum(axis=1)[:, ::-1]  # that remain from each quality on
    errors = wrong[:, ::-1].cumsum(axis=1)[:, ::-1]
    fnmr = np.divide(errors, pairs, out=np.zeros_like(pairs), where=pairs > 0)
    discard = np.minimum(1 - pairs / pairs[:, :1], limit)
    ends = np.column_stack((discard[:, 1:], np.full(len(pairs), min(limit, 1.0))))
    return np.asarray((fnmr * (ends - discard)).sum(axis=1))


def interval(samples: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(samples, np.float64), (tail, 1 - tail))
    return float(low), float(high)
