"""EDC by hand, and against an independent implementation's numbers."""

import json

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import (
    Edc,
    edc_fixed,
    relative_pauc,
    resolves,
    theoretical_best,
    threshold_at_fmr,
    threshold_at_fnmr,
)


def test_the_worst_pair_goes_first():
    curve = edc_fixed([0.9, 0.2, 0.8, 0.1], [4, 1, 3, 2], threshold=0.5)
    assert [curve.at(d) for d in (0, 0.25, 0.49, 0.5, 0.75, 1)] == [2 / 4, 1 / 3, 1 / 3, 0, 0, 0]


def test_a_pair_at_the_threshold_matches():
    """A non-match is a similarity below it, and only that."""
    curve = edc_fixed([0.5, 0.9, 0.4, 0.8], [1, 2, 3, 4], threshold=0.5)
    assert curve.fnmr.tolist() == [1 / 4, 1 / 3, 1 / 2, 0, 0]


def test_equal_qualities_leave_together():
    curve = edc_fixed([0.1, 0.9, 0.9, 0.1], [1, 1, 2, 2], threshold=0.5)
    assert curve.discard.tolist() == [0, 0.5, 1]
    assert curve.fnmr.tolist() == [0.5, 0.5, 0]


def test_pauc_is_the_area_under_the_steps():
    curve = Edc(np.array([0, 0.1, 0.4, 1.0]), np.array([0.5, 0.2, 0.1, 0]))
    assert curve.pauc(0.3) == pytest.approx(0.1 * 0.5 + 0.2 * 0.2)
    assert curve.pauc(1.0) == pytest.approx(0.05 + 0.06 + 0.06)
    for wrong in (0, 1.5):
        with pytest.raises(ConfigError) as refused:
            curve.pauc(wrong)
        assert str(refused.value) == f"a discard limit lies in (0, 1], got {wrong}"


def test_a_perfect_quality_reaches_the_theoretical_best():
    similarity = np.linspace(0, 1, 1000)
    curve = edc_fixed(similarity, similarity, threshold=0.2)
    assert curve.at(0) == pytest.approx(0.2)
    wrong_share = 0.2
    exact = np.mean([max(wrong_share - d, 0) / (1 - d) for d in np.linspace(0, 0.999, 20_000)])
    assert curve.pauc(1.0) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("limit", ["0.1", "0.2", "0.3", "0.5", "1.0"])
def test_parity(parity, limit):
    data = np.load(parity / "edc_fixed.npz")
    quality = np.minimum(data["quality_a"], data["quality_b"])
    for expected in json.loads((parity / "edc_fixed.json").read_text(encoding="utf-8"))["curves"]:
        error = expected["args"].get("starting_error")
        threshold = expected["args"].get("similarity_score_threshold")
        if error is not None:
            threshold = threshold_at_fnmr(data["similarity"], error)
        curve = edc_fixed(data["similarity"], quality, threshold)
        np.testing.assert_allclose(curve.discard, expected["discard_fractions"], atol=1e-12)
        np.testing.assert_allclose(curve.fnmr, expected["error_fractions"], atol=1e-12)
        assert curve.pauc(float(limit)) == pytest.approx(expected["pauc"][limit], abs=1e-9)
        best = theoretical_best(curve.at(0), float(limit))
        assert best == pytest.approx(expected["theoretical_best"][limit], abs=1e-9)


def test_relative_pauc_is_0_at_the_best_and_1_where_random_pairs_leave():
    """FNMR 0.2 up to a discard of 0.1: at best 0.2 * 0.1 - 0.1 ** 2 / 2, by chance 0.2 * 0.1."""
    best, chance = 0.015, 0.02
    values = [relative_pauc(area, 0.2, 0.1) for area in (best, chance, 0.0175, 0.0225)]
    assert values == pytest.approx([0, 1, 0.5, 1.5])
    assert np.isnan(relative_pauc(0.0, 0.0, 0.1))


def test_thresholds():
    impostor = np.arange(1000) / 1000
    threshold = threshold_at_fmr(impostor, 0.01)
    assert (impostor >= threshold).mean() == pytest.approx(0.01)
    tied = np.repeat([0.1, 0.9], [900, 100])
    assert (tied >= threshold_at_fmr(tied, 0.05)).mean() <= 0.05
    for wrong in (0, 1, -0.1):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            threshold_at_fmr(impostor, wrong)
    for rate, needed in ((1e-3, "10,000"), (0.003, "3,334")):
        with pytest.raises(ConfigError) as refused:
            threshold_at_fmr(impostor, rate)
        reason = f"1,000 impostor pairs cannot resolve an FMR of {rate:g}; that needs {needed}"
        assert str(refused.value) == reason


def test_a_threshold_lies_just_above_the_similarity_that_must_not_match():
    """In double precision, whatever the similarities come in."""
    impostor = (np.arange(1000) / 1000).astype(np.float32)
    assert threshold_at_fmr(impostor, 0.01) == np.nextafter(float(impostor[989]), np.inf)


def test_ten_expected_errors_resolve_a_rate():
    assert [resolves(pairs, 0.1) for pairs in (99, 100, 101)] == [False, True, True]


def test_the_threshold_of_a_starting_error():
    genuine = [0.4, 0.1, 0.3, 0.2]
    assert [threshold_at_fnmr(genuine, share) for share in (0.2, 0.25, 0.5)] == [0.1, 0.2, 0.3]
    assert (
        threshold_at_fnmr([0.2, 0.1], 1 - 1e-12) == 0.2
    )  # rounding leads to no pair beyond the last
    for wrong in (0, 1, 1.5):
        with pytest.raises(ConfigError) as refused:
            threshold_at_fnmr(genuine, wrong)
        assert str(refused.value) == f"a starting error lies between 0 and 1, got {wrong}"
    with pytest.raises(ConfigError, match=r"^no mated pairs$"):
        threshold_at_fnmr([], 0.1)


def test_similarities_are_compared_in_double_precision():
    """0.7 in float32 is a little below 0.7; columns of a table may be objects."""
    assert edc_fixed(np.float32([0.7]), [1], 0.7).fnmr[0] == 1
    assert edc_fixed([0.9, 0.1], np.array([2, 1], object), 0.5).fnmr.tolist() == [0.5, 0, 0]


def test_the_theoretical_best_by_hand():
    """Errors leave first: max(0.2 - d, 0) up to 0.1 and 0.5, and all pairs wrong up to 1."""
    areas = [theoretical_best(*arguments) for arguments in ((0.2, 0.1), (0.2, 0.5), (1.0, 1.0))]
    assert areas == pytest.approx([0.015, 0.02, 0.5])


@pytest.mark.parametrize(
    ("similarity", "quality"),
    [([], []), ([1, 2], [1]), ([1, np.nan], [1, 2]), ([1, 2], [1, np.inf])],
)
def test_what_has_no_curve(similarity, quality):
    with pytest.raises(ConfigError) as refused:
        edc_fixed(similarity, quality, 0.5)
    shapes = f"got ({len(similarity)},) and ({len(quality)},)"
    assert str(refused.value) in (
        f"need as many similarities as qualities, {shapes}",
        "similarities and qualities must be finite; leave failed pairs out first",
    )
