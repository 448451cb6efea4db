"""Distances taken for similarities, and qualities that are upside down."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.direction import check_similarity, quality_note, rank_correlation
from edge_fiqa.evaluation.scored_pairs import score_pairs


def test_mated_pairs_are_more_alike():
    similarity, same = np.array([0.9, 0.8, 0.3, 0.2, 0.1]), [1, 1, 1, 0, 0]
    check_similarity(score_pairs(similarity, same, np.zeros(5)), False, "pairs.csv")
    with pytest.raises(ConfigError) as caught:
        check_similarity(score_pairs(-similarity, same, np.zeros(5)), False, "pairs.csv")
    assert str(caught.value) == (
        "pairs.csv: the median of mated pairs is -0.8, of non-mated pairs -0.15, so that mated pairs "
        "would be less alike; is it a distance? Give --distance"
    )
    # With --distance the reader has turned the sign: the message gives the file's own numbers.
    with pytest.raises(ConfigError, match=r"is 0\.8, .* 0\.15, .* a similarity\? Leave out --dist"):
        check_similarity(score_pairs(-similarity, same, np.zeros(5)), True, "pairs.csv")


def test_one_kind_of_pairs_says_nothing():
    check_similarity(score_pairs([0.1, 0.2], [1, 1], [1, 2]), False, "pairs.csv")


@pytest.mark.parametrize("pairs", [50, 1000])
def test_quality_that_falls_with_similarity_is_noted(pairs):
    rng = np.random.default_rng(0)
    quality = rng.normal(size=pairs)
    similarity = quality + rng.normal(size=pairs)
    upright = score_pairs(similarity, np.ones(pairs), quality)
    inverted = score_pairs(similarity, np.ones(pairs), -quality)
    assert quality_note(upright, False) is None
    assert "is lower better? Give --lower-is-better" in quality_note(inverted, False)
    assert "is higher better? Leave out --lower-is-better" in quality_note(inverted, True)


def test_a_quality_of_no_use_is_seldom_called_inverted():
    """Three standard errors: about one in 740 by chance."""
    rng = np.random.default_rng(1)
    notes = [
        quality_note(score_pairs(rng.normal(size=200), np.ones(200), rng.normal(size=200)), False)
        for _ in range(500)
    ]
    assert sum(note is not None for note in notes) <= 5


def test_ranks_are_spearmans():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 9, 300).astype(float), rng.integers(0, 9, 300).astype(float)
    assert rank_correlation(a, a + b) == pytest.approx(spearmanr(a, a + b).statistic)
    assert rank_correlation(a, np.ones(300)) is None
