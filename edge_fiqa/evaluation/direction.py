"""Signs that numbers have the other direction: distances, or qualities where lower is better."""

from __future__ import annotations

import numpy as np

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.scored_pairs import ScoredPairs
from edge_fiqa.types import Floats

STANDARD_ERRORS = 3.0
"""A rank correlation that far below zero is no chance; its standard error is 1/sqrt(pairs - 1)."""


def check_similarity(pairs: ScoredPairs, distance: bool, where: str) -> None:
    """Raises ConfigError where mated pairs are less alike than non-mated ones, by their medians.

    A recogniser that is worse than guessing is not what anybody wants to evaluate. distance: what
    was said of the column.
    """
    genuine, impostor = pairs.genuine, pairs.impostor
    if not genuine.size or not impostor.size or np.median(genuine) >= np.median(impostor):
        return
    sign = -1 if distance else 1
    remedy = "a similarity? Leave out" if distance else "a distance? Give"
    raise ConfigError(
        f"{where}: the median of mated pairs is {sign * np.median(genuine):.3g}, of non-mated pairs "
        f"{sign * np.median(impostor):.3g}, so that mated pairs would be less alike; "
        f"is it {remedy} --distance"
    )


def quality_note(pairs: ScoredPairs, lower_is_better: bool) -> str | None:
    """A sentence where mated pairs of higher quality are less alike than chance allows, else None.

    By Spearman's rank correlation of quality and similarity over the mated pairs.
    """
    correlation = rank_correlation(pairs.genuine, pairs.quality[pairs.same])
    if correlation is None or correlation * np.sqrt(pairs.genuine.size - 1) > -STANDARD_ERRORS:
        return None
    doubt = "is higher better? Leave out" if lower_is_better else "is lower better? Give"
    return (
        f"mated pairs of higher quality are less alike (rank correlation {correlation:.2f}); "
        f"{doubt} --lower-is-better"
    )


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's, (P,) and (P,); equal values share their mean rank. None where one is constant."""
    ranks = [_mean_ranks(values) for values in (a, b)]
    if len(a) < 2 or any(np.ptp(values) == 0 for values in ranks):
        return None
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def _mean_ranks(values: Floats) -> Floats:
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[group], np.float64)
