"""Limits of causes: how many good faces are blamed, and what happens with few of them."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.reasons.limits import CauseLimits, fit_limits

NAMES = ("yaw", "defocus")


def test_few_good_faces_are_blamed_for_anything():
    rng = np.random.default_rng(0)
    persons = [str(k) for k in range(2000)]
    limits = fit_limits(rng.normal(size=(2000, 1, 2)), NAMES, [4], persons, 0.1)
    other = rng.normal(size=(20_000, 2))
    blamed = (other > limits.at(4)).any(1).mean()
    assert 0.08 < blamed < 0.11  # two independent causes: a little less than the 0.1 promised


def test_the_limit_is_the_smallest_rank_that_keeps_the_promise():
    # 0.2 / 2 causes: rank ceil(20 * 0.9) = 18 of 19 persons
    logits = np.arange(19, dtype=np.float32)[:, None, None].repeat(2, 2)
    limits = fit_limits(logits, NAMES, [1], [str(k) for k in range(19)], 0.2)
    assert limits.at(1).tolist() == [17, 17]
    assert limits.faces == 19


def test_a_person_with_many_faces_counts_once():
    logits = np.concatenate([np.zeros((19, 1, 2)), np.full((500, 1, 2), 9)]).astype(np.float32)
    groups = [str(k) for k in range(19)] + ["18"] * 500
    limits = fit_limits(logits, NAMES, [1], groups, 0.2)
    assert limits.faces == 19
    assert limits.at(1).tolist() == [0, 0]


def test_a_face_whose_logits_are_no_numbers_does_not_count():
    logits = np.zeros((20, 1, 2), np.float32)
    logits[3, 0, 1] = np.nan
    limits = fit_limits(logits, NAMES, [1], [str(k) for k in range(20)], 0.2)
    assert limits.faces == 19
    assert limits.at(1).tolist() == [0, 0]


def test_with_too_few_persons_nothing_is_reported():
    logits = np.zeros((8, 1, 2), np.float32)
    limits = fit_limits(logits, NAMES, [1], [str(k) for k in range(8)], 0.2)
    assert limits.limits == ((None, None),)
    assert np.isinf(limits.at(1)).all()


def test_an_exit_without_limits_is_an_error():
    limits = CauseLimits(NAMES, (2,), ((1.0, None),), 0.05, 400)
    with pytest.raises(ConfigError, match="exit 3"):
        limits.at(3)


def test_rows_must_fit_the_names():
    with pytest.raises(ConfigError, match="a number for every cause"):
        CauseLimits(NAMES, (2,), ((1.0,),), 0.05, 400)
