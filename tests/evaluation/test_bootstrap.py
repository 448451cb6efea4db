"""Resampling by identity: all of a person or nothing of them, and intervals that cover."""

import numpy as np
import pytest

from edge_fiqa.evaluation.bootstrap import (
    identity_weights,
    interval,
    resample_identities,
    weighted_pauc,
)
from edge_fiqa.evaluation.edc import edc_fixed

IDENTITY = np.array(["b", "a", "b", "c", "a", "b"])


def test_persons_are_drawn_whole_and_as_many_as_there_are():
    seen = set()
    for rows in resample_identities(IDENTITY, 200, seed=1):
        drawn = 0
        for name in "abc":
            own = np.flatnonzero(name == IDENTITY)
            counts = {int((rows == row).sum()) for row in own}
            assert len(counts) == 1
            drawn += counts.pop()
        assert drawn == 3
        seen.add(tuple(sorted(rows)))
    assert len(seen) == 10  # all multisets of three persons of three


def test_a_seed_repeats():
    one, again = (list(resample_identities(IDENTITY, 5, seed=3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


def test_the_interval_is_as_wide_as_persons_not_pairs_say():
    # 40 persons with 25 equal values each: the error of the mean is that of 40 values, not 1000.
    rng = np.random.default_rng(0)
    identity = np.arange(40).repeat(25)
    values = rng.normal(size=40).repeat(25)
    means = [values[rows].mean() for rows in resample_identities(identity, 1000)]
    low, high = interval(means)
    expected = 2 * 1.96 * values[::25].std() / np.sqrt(40)
    assert high - low == pytest.approx(expected, rel=0.15)
    assert low < values.mean() < high


@pytest.mark.parametrize("levels", [4, 1000])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_all_resamples_at_once_are_each_resample_alone(levels, limit):
    rng = np.random.default_rng(1)
    similarity, quality = rng.random(60), rng.integers(0, levels, 60)
    identity = rng.integers(0, 20, 60)
    weights = identity_weights(identity, 25, seed=2)
    together = weighted_pauc(similarity, quality, 0.4, limit, weights)
    alone = [
        edc_fixed(similarity[rows], quality[rows], 0.4).pauc(limit)
        for rows in resample_identities(identity, 25, seed=2)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-12)
