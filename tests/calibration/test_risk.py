"""The promise: with the stated confidence, the flip rate is at most the stated risk."""

import numpy as np
import pytest
from scipy.stats import binom

from edge_fiqa.calibration.risk import (
    LAMBDAS,
    choose,
    count_flips,
    faces_needed,
    fixed_sequence,
    flips,
    p_value,
    stops,
)


def made_up(faces, seed=0):
    """Estimates that walk to the full score: (N, 6), and their true spreads."""
    rng = np.random.default_rng(seed)
    spread = np.array([0.8, 0.5, 0.3, 0.2, 0.1, 0.0])
    full = rng.normal(size=(faces, 1))
    noise = rng.standard_t(3, size=(faces, 6))  # heavier tails than the spread suggests
    return full + noise * spread, np.broadcast_to(spread, (faces, 6)).copy()


def test_stops_at_the_first_certain_point():
    estimates = np.array([[0.9, 0.2, 0.4], [0.1, 0.9, 0.4], [0.1, 0.2, 0.4]])
    spreads = np.array([[0.5, 0.5, 0.0]] * 3)
    assert stops(estimates, spreads, 0.0, 1.0).tolist() == [0, 1, 2]
    assert stops(estimates, spreads, 0.0, None).tolist() == [2, 2, 2]


def test_flips_are_those_of_stopping_there():
    estimates, spreads = made_up(300)
    found = flips(estimates, spreads, 0.3, LAMBDAS)
    for position, lam in enumerate(LAMBDAS):
        at = stops(estimates, spreads, 0.3, lam)
        early = estimates[np.arange(300), at] >= 0.3
        np.testing.assert_array_equal(found[position], early != (estimates[:, -1] >= 0.3))
    assert found[0].sum() < found[-1].sum()


def test_p_values_are_exact_binomial_tails():
    assert p_value(2, 100, 0.05) == pytest.approx(sum(binom.pmf(k, 100, 0.05) for k in range(3)))


def test_the_sequence_ends_before_its_first_failure():
    assert fixed_sequence([0.01, 0.02, 0.3, 0.001], 0.95) == 1
    assert fixed_sequence([0.06, 0.0], 0.95) is None
    assert fixed_sequence([0.0, 0.0], 0.95) == 1


def test_faces_needed_is_where_no_flip_suffices():
    needed = faces_needed(0.01, 0.95)
    assert needed == 299  # 0.99 ** 299 < 0.05 < 0.99 ** 298
    clean = np.zeros((1, len(LAMBDAS)), int)
    assert choose(clean, needed, 0.01, 0.95)[1] == LAMBDAS[-1]
    assert choose(clean, needed - 1, 0.01, 0.95) == ([None], None)


def test_one_margin_for_all_gates_is_as_wide_as_the_widest():
    estimates, spreads = made_up(4000)
    errors = count_flips(estimates, spreads, np.linspace(-2, 2, 9))
    each, common = choose(errors, 4000, 0.02, 0.95)
    assert common == max(each)
    assert min(each) < common


@pytest.mark.parametrize("risk", [0.02, 0.05])
def test_the_promise_is_kept_in_two_thousand_calibrations(risk):
    """Violations of P(flip) <= risk happen in at most 5 % of calibrations, per gate and for all."""
    estimates, spreads = made_up(200_000)
    taus, faces, trials = np.array([-1.0, 0.0, 0.8]), 600, 2000
    wrong = np.stack([flips(estimates, spreads, tau, LAMBDAS) for tau in taus])  # (G, L, N)
    truth = np.concatenate([wrong.mean(axis=2), np.zeros((3, 1))], axis=1)  # last: full depth
    place = {lam: position for position, lam in enumerate(LAMBDAS)} | {None: len(LAMBDAS)}
    rng = np.random.default_rng(1)
    violated, violated_by_any = np.zeros(3), 0
    for _ in range(trials):
        drawn = rng.integers(0, estimates.shape[0], faces)
        each, common = choose(wrong[:, :, drawn].sum(axis=2), faces, risk, 0.95)
        violated += [truth[g, place[lam]] > risk for g, lam in enumerate(each)]
        violated_by_any += bool((truth[:, place[common]] > risk).any())
    allowed = binom.ppf(0.999, trials, 0.05)
    assert violated.max() <= allowed
    assert violated_by_any <= allowed
    assert violated.min() > 0  # the promise is not kept by being timid
