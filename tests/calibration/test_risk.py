"""The promise: with the stated confidence, the flip rate is at most the stated risk."""

import numpy as np
import pytest
from scipy.stats import binom, t

from edge_fiqa.calibration.risk import (
    MARGINS,
    FlipCounts,
    certain,
    choose_margins,
    count_flips,
    design_effect,
    faces_needed,
    fixed_sequence,
    is_flip,
    p_value,
    stops,
    variance,
)


def made_up(faces, seed=0):
    """Estimates that walk to the full score: (N, 6), and their true spreads."""
    rng = np.random.default_rng(seed)
    spread = np.array([0.8, 0.5, 0.3, 0.2, 0.1, 0.0])
    full = rng.normal(size=(faces, 1))
    noise = rng.standard_t(3, size=(faces, 6))  # heavier tails than the spread suggests
    return full + noise * spread, np.broadcast_to(spread, (faces, 6)).copy()


def test_certain_is_further_from_the_threshold_than_the_margin():
    """By hand, around a threshold of 0.5: distances 0.25, 0.5, 0.75 and 0.5 below."""
    estimates = np.array([0.75, 1.0, 1.25, 0.0, np.nan])
    spreads = np.full(5, 0.25)
    assert certain(estimates, spreads, 0.5, 2.0).tolist() == [False, False, True, False, False]
    assert certain(estimates, spreads, 0.5, 1.0).tolist() == [False, True, True, True, False]
    assert certain(estimates, spreads * 0, 0.5, 2.0).tolist() == [True] * 4 + [False]
    assert certain(estimates, spreads, 0.5, None).tolist() == [False] * 5
    assert certain(estimates, spreads, 0.5, None).dtype == bool  # a mask, which ~ turns round
    assert certain(estimates[:4], spreads[:4], -np.inf, 8.0).all()  # the gate 0 is always passed
    assert not certain(np.array([0.5]), np.zeros(1), 0.5, 0.0).any()


def test_certain_is_the_same_alone_and_in_a_batch():
    """Bit for bit: a margin is tested on arrays (N, P) and served to one column at a time."""
    rng = np.random.default_rng(3)
    estimates = rng.normal(size=(500, 6)).astype(np.float32)
    spreads = rng.random((500, 6)).astype(np.float32)
    for margin in MARGINS[::9]:
        spreads[:9] = np.abs(estimates[:9] - 0.3) / margin  # on the edge, or a last digit beside it
        together = certain(estimates, spreads, 0.3, margin)
        for point in range(6):
            column = certain(estimates[:, point], spreads[:, point], 0.3, margin)
            np.testing.assert_array_equal(column, together[:, point])
        alone = [
            [abs(e - np.float32(0.3)) > np.float32(margin) * s for e, s in zip(*pair, strict=True)]
            for pair in zip(estimates, spreads, strict=True)
        ]
        np.testing.assert_array_equal(together, alone)


def test_stops_at_the_first_certain_point():
    estimates = np.array([[0.9, 0.2, 0.4], [0.1, 0.9, 0.4], [0.1, 0.2, 0.4]])
    spreads = np.array([[0.5, 0.5, 0.0]] * 3)
    assert stops(estimates, spreads, 0.0, 1.0).tolist() == [0, 1, 2]
    assert stops(estimates, spreads, 0.0, None).tolist() == [2, 2, 2]


def test_flips_are_those_of_stopping_there():
    estimates, spreads = made_up(300)
    computed = is_flip(estimates, spreads, 0.3, MARGINS)
    for position, margin in enumerate(MARGINS):
        at = stops(estimates, spreads, 0.3, margin)
        early = estimates[np.arange(300), at] >= 0.3
        np.testing.assert_array_equal(computed[position], early != (estimates[:, -1] >= 0.3))
    assert computed[0].sum() < computed[-1].sum()


def test_a_face_at_the_margin_or_at_the_gate():
    """Exactly `margin` spreads away is not certain; exactly at the gate is accepted."""
    assert stops(np.array([[1.0, -1.0]]), np.array([[0.5, 0.0]]), 0.0, 2.0).tolist() == [1]
    by_margin = is_flip(np.array([[1.0, -1.0]]), np.array([[0.5, 0.0]]), 0.0, (2.0, 1.5))
    assert by_margin.tolist() == [[False], [True]]
    at_gate = is_flip(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.full((2, 2), 0.5), 0.0, (1.0,))
    assert at_gate.tolist() == [[False, True]]


def test_p_values_are_exact_binomial_tails():
    assert p_value(2, 100, 0.05) == pytest.approx(sum(binom.pmf(k, 100, 0.05) for k in range(3)))
    assert p_value([5, 6], 5, 0.05).tolist() == [1, 1]


def test_p_values_of_effective_numbers_by_hand():
    """Without a flip among n faces the probability is (1 - risk)^n, also for half a face, and for 0."""
    assert p_value([0, 0, 0], [0.5, 2, 0], 0.5) == pytest.approx([0.5**0.5, 0.25, 1])
    assert p_value([0, 0.5, 3], [0, 0.5, 3], 0.5).tolist() == [1, 1, 1]  # no more can flip
    assert p_value([4, 3], [3, 4], 0.5) == pytest.approx([1, 1 - 0.5**4])


def test_p_values_of_counts_in_small_integers():
    counts = np.array([126, 127], np.int8)
    expected = binom.cdf([126, 127], 600, 0.2)
    assert p_value(counts, np.array(600, np.int16), 0.2) == pytest.approx(expected)


def test_the_sequence_ends_before_its_first_failure():
    assert fixed_sequence([0.01, 0.02, 0.3, 0.001], 0.95) == 1
    assert fixed_sequence([0.06, 0.0], 0.95) is None
    assert fixed_sequence([0.0, 0.0], 0.95) == 1
    assert fixed_sequence([0.5, 0.75], 0.5) == 0  # at the level itself it passes


def test_faces_needed_is_where_no_flip_suffices():
    needed = faces_needed(0.01, 0.95)
    assert needed == 299  # 0.99 ** 299 < 0.05 < 0.99 ** 298
    clean = np.zeros((1, len(MARGINS)))
    assert choose_margins(FlipCounts(clean, clean + needed), 0.01, 0.95)[1] == MARGINS[-1]
    assert choose_margins(FlipCounts(clean, clean + needed - 1), 0.01, 0.95) == ([None], None)


def test_one_margin_for_all_gates_is_as_wide_as_the_widest():
    estimates, spreads = made_up(4000)
    counts = count_flips(estimates, spreads, np.linspace(-2, 2, 9), np.arange(4000), 0.95)
    each, common = choose_margins(counts, 0.02, 0.95)
    assert common == max(each)
    assert min(each) < common


@pytest.mark.parametrize("risk", [0.02, 0.05])
def test_the_promise_is_kept_in_two_thousand_calibrations(risk):
    """Violations of P(flip) <= risk happen in at most 5 % of calibrations, per gate and for all."""
    estimates, spreads = made_up(200_000)
    thresholds, faces, trials = np.array([-1.0, 0.0, 0.8]), 600, 2000
    wrong = np.stack(
        [is_flip(estimates, spreads, threshold, MARGINS) for threshold in thresholds]
    )  # (G, L, N)
    truth = np.concatenate([wrong.mean(axis=2), np.zeros((3, 1))], axis=1)  # last: full depth
    place = {margin: position for position, margin in enumerate(MARGINS)} | {None: len(MARGINS)}
    rng = np.random.default_rng(1)
    violated, violated_by_any = np.zeros(3), 0
    for _ in range(trials):
        drawn = rng.integers(0, estimates.shape[0], faces)
        flips = wrong[:, :, drawn].sum(axis=2, dtype=np.float64)
        each, common = choose_margins(FlipCounts(flips, np.full(flips.shape, faces)), risk, 0.95)
        violated += [truth[g, place[margin]] > risk for g, margin in enumerate(each)]
        violated_by_any += bool((truth[:, place[common]] > risk).any())
    allowed = binom.ppf(0.999, trials, 0.05)
    assert violated.max() <= allowed
    assert violated_by_any <= allowed
    assert violated.min() > 0  # the promise is not kept by being timid


def effect(flips, sizes):
    of = variance(np.asarray(flips, float)[None, None], sizes)
    return design_effect(of, sizes, 0.95).item()


def test_a_design_effect_counts_what_groups_are_worth():
    sizes = np.full(200, 5.0)
    together = np.repeat([[0.0, 5.0]], 100, axis=0).ravel()  # a person flips always or never
    assert effect(together, sizes) == pytest.approx(5, rel=0.02)
    alone = np.random.default_rng(0).binomial(5, 0.5, 200)
    assert effect(alone, sizes) == pytest.approx(1, abs=0.25)
    assert effect(np.zeros(200), sizes) == pytest.approx(5, rel=0.02)  # who knows?
    assert effect(np.zeros(1), np.array([500.0])) == 500
    assert effect(np.array([9, 9]), np.array([50.0, 50.0])) > 10  # two agree by chance
    assert effect(np.eye(300)[0], np.ones(300)) == 1


def test_few_groups_pay_the_square_of_students_quantile():
    """Two groups of 50 that flip alike: nothing between them, t(1) against t(99) at 95 %."""
    expected = (t.ppf(0.95, 1) / t.ppf(0.95, 99)) ** 2
    assert effect(np.array([9, 9]), np.array([50.0, 50.0])) == pytest.approx(expected)


def test_gates_without_flips_borrow_the_design_effect_of_those_with():
    sizes = np.full(200, 5.0)
    flips = np.zeros((2, 1, 200))
    flips[0, 0, ::2] = 5
    computed = design_effect(variance(flips, sizes), sizes, 0.95)
    assert computed[1, 0] == pytest.approx(5, rel=0.02)


def test_a_single_group_counts_as_one_face_at_every_gate_and_margin():
    flips = np.array([[[0.0], [9.0], [500.0]], [[1.0], [2.0], [3.0]]])  # 2 gates, 3 margins
    computed = design_effect(variance(flips, np.array([500.0])), np.array([500.0]), 0.95)
    assert computed.tolist() == [[500.0] * 3] * 2


def test_each_gate_has_its_own_design_effect_or_that_of_all_if_that_is_larger():
    """Groups of 1 and 3 faces, 4 in all.

    Flips 1 and 0: rate 1/4, squares 9/16 twice, times 2: 9/4. Alone 4 * 1/4 * 3/4 * 4/3 = 1.
    Flips 0 and 2: rate 1/2, squares 1/4 twice, times 2: 1. Alone 4 * 1/2 * 1/2 * 4/3 = 4/3.
    """
    sizes, few_groups = np.array([1.0, 3.0]), (t.ppf(0.95, 1) / t.ppf(0.95, 3)) ** 2
    flips = np.array([[[1.0, 0.0]], [[0.0, 2.0]]])  # (2 gates, 1 margin, 2 groups)
    computed = design_effect(variance(flips, sizes), sizes, 0.95) / few_groups
    pooled = (9 / 4 + 1) / (1 + 4 / 3)  # 39 / 28, more than 3/4, which the second gate has itself
    assert computed == pytest.approx(np.array([[9 / 4], [pooled]]))
    # Half a flip of 10 faces, as of a person who counts for less: squares 0.45^2 twice, times 2, over
    # 10 * 0.05 * 0.95 * 10/9. Beside it all flip alike: nothing between the groups.
    sizes, few_groups = np.array([1.0, 9.0]), (t.ppf(0.95, 1) / t.ppf(0.95, 9)) ** 2
    flips = np.array([[[0.5, 0.0]], [[0.5, 4.5]]])
    computed = design_effect(variance(flips, sizes), sizes, 0.95) / few_groups
    assert computed == pytest.approx(np.array([[0.81 / (4.75 / 9)], [1.0]]))


def test_margins_without_flips_take_the_effect_of_the_last_margin():
    """By hand as above: 9/4 over 1. Without any flips it would be 4 faces in 2 groups."""
    sizes, few_groups = np.array([1.0, 3.0]), (t.ppf(0.95, 1) / t.ppf(0.95, 3)) ** 2
    flips = np.array([[[0.0, 0.0], [1.0, 3.0], [1.0, 0.0]]])  # (1 gate, 3 margins, 2 groups)
    computed = design_effect(variance(flips, sizes), sizes, 0.95) / few_groups
    assert computed == pytest.approx(np.full((1, 3), 9 / 4))


def test_groups_are_counted_whatever_their_numbers_and_order():
    """Three faces that flip, of persons 7, -1 and 7, among six faces of three persons."""
    estimates = np.array(
        [[1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    )
    spreads, groups = np.full((6, 2), 0.1), np.array([7, 3, -1, 3, 7, -1])
    counts = count_flips(estimates, spreads, [0.0], groups, 0.95)
    by_person = np.array([[[1.0, 0.0, 2.0]]])  # of -1, 3 and 7
    sizes = np.full(3, 2.0)
    expected = design_effect(variance(by_person, sizes), sizes, 0.95).item()
    assert counts.effective_flips[0, -1] == pytest.approx(3 / expected)
    assert counts.effective_faces[0, -1] == pytest.approx(6 / expected)


def test_nobody_counts_for_more_than_twenty_faces():
    """One person with 600 faces, all flipped, beside 580 without: 20 of 600 are flips, not half."""
    estimates = np.array([[0.5, -1.0]] * 600 + [[0.5, 1.0]] * 580)
    spreads = np.array([[1.0, 0.0]] * 1180)
    groups = np.array([0] * 600 + list(range(1, 581)))
    counts = count_flips(estimates, spreads, [0.0], groups, 0.95)
    assert counts.effective_flips[0, -1] / counts.effective_faces[0, -1] == pytest.approx(20 / 600)
    assert counts.effective_faces[0, -1] < 600


def test_faces_that_are_alone_are_counted_one_by_one():
    estimates, spreads = made_up(500)
    counts = count_flips(estimates, spreads, [0.0], np.arange(500), 0.95)
    plain = is_flip(estimates, spreads, 0.0, MARGINS).sum(axis=1)
    np.testing.assert_allclose(counts.effective_flips[0], plain, rtol=1e-6)
    np.testing.assert_allclose(counts.effective_faces[0], 500, rtol=1e-6)


def test_the_promise_is_kept_where_persons_flip_together():
    """Twelve near-copies of each face: as if independent, the promise would break far too often."""
    base, spread = made_up(40_000)
    rng = np.random.default_rng(2)
    wrong = is_flip(base, spread, 0.0, MARGINS)
    truth = np.append(wrong.mean(axis=1), 0.0)
    place = {margin: position for position, margin in enumerate(MARGINS)} | {None: len(MARGINS)}
    violated = {"by person": 0, "as if independent": 0}
    for _ in range(300):
        drawn = np.repeat(rng.integers(0, 40_000, 400), 12)
        estimates = base[drawn] + rng.normal(0, 1e-3, (len(drawn), 1))
        groups = {"by person": np.repeat(np.arange(400), 12), "as if independent": np.arange(4800)}
        for kind, numbers in groups.items():
            (margin,), _ = choose_margins(
                count_flips(estimates, spread[drawn], [0.0], numbers, 0.95), 0.03, 0.95
            )
            violated[kind] += truth[place[margin]] > 0.03
    assert violated["by person"] <= binom.ppf(0.999, 300, 0.06)
    assert violated["as if independent"] > binom.ppf(0.999, 300, 0.05)


@pytest.mark.parametrize(("persons", "each"), [(1, 600), (2, 300), (10, 60), (30, 20)])
def test_few_persons_cannot_promise_however_many_their_faces(persons, each):
    """Counted without their persons, 10 of 60 near-copies broke their promise in 70 % of these."""
    base, spread = made_up(20_000)
    rng, thresholds = np.random.default_rng(2), np.linspace(-2, 2, 9)
    wrong = np.stack(
        [is_flip(base, spread, threshold, MARGINS).mean(axis=1) for threshold in thresholds]
    )
    truth = np.concatenate([wrong, np.zeros((len(thresholds), 1))], axis=1)
    place = {margin: position for position, margin in enumerate(MARGINS)} | {None: len(MARGINS)}
    violated = np.zeros(len(thresholds))
    for _ in range(40):
        drawn = np.repeat(rng.integers(0, 20_000, persons), each)
        estimates = base[drawn] + rng.normal(0, 1e-3, (len(drawn), 1))
        numbers = np.repeat(np.arange(persons), each)
        margins, _ = choose_margins(
            count_flips(estimates, spread[drawn], thresholds, numbers, 0.95), 0.03, 0.95
        )
        violated += [truth[gate, place[margin]] > 0.03 for gate, margin in enumerate(margins)]
    assert violated.max() <= binom.ppf(0.999, 40, 0.05)


def test_the_variances_by_hand():
    """1, 0, 1 flips of 2 faces each: squares 1/9 + 4/9 + 1/9, times 3/2; 6 * 1/3 * 2/3, times 6/5."""
    both = variance(np.array([1.0, 0.0, 1.0]), np.array([2.0, 2.0, 2.0]))
    assert (float(both.between), float(both.independent)) == pytest.approx((1.0, 1.6))
    pair = variance(
        np.array([1.0, 0.0]), np.array([1.0, 1.0])
    )  # 1/4 + 1/4, times 2/1; 1/2 times 2/1
    assert (float(pair.between), float(pair.independent)) == pytest.approx((1.0, 1.0))
