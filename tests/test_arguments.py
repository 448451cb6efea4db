"""What is no number is refused in one sentence, wherever a caller may hand it in."""

import re

import numpy as np
import pytest

from edge_fiqa import Budget, Deadline, Fixed, Scorer
from edge_fiqa.arguments import check_number, check_positive, whole_number
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.policies.policy import Convergence


@pytest.fixture(scope="module")
def opened(bundle):
    with Scorer.open(bundle, backend="ov", threads=1, gate=40) as scorer:
        yield scorer


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("gate", "45", "a gate must be a whole number, from 0 to 100, got '45'"),
        ("gate", 45.5, "a gate must be a whole number, from 0 to 100, got 45.5"),
        ("gate", True, "a gate must be a whole number, from 0 to 100, got True"),
        ("gate", 101, "a gate must be from 0 to 100, got 101"),
        ("workers", 1.5, "workers must be a whole number, at least 1, got 1.5"),
        ("workers", "2", "workers must be a whole number, at least 1, got '2'"),
        ("workers", 0, "workers must be at least 1, got 0"),
        ("threads", "2", "threads must be a whole number, at least 1, got '2'"),
        ("threads", True, "threads must be a whole number, at least 1, got True"),
    ],
)
def test_a_scorer_is_not_opened_with_what_is_no_number(bundle, option, value, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Scorer.open(bundle, **{option: value})


def test_an_engine_is_not_opened_with_what_is_no_number(bundle):
    with pytest.raises(ConfigError, match="threads must be a whole number, at least 1"):
        open_engine(bundle, "ov", 2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(True), "an exit must be a whole number, got True"),
        (lambda: Fixed(2.0), "an exit must be a whole number, got 2.0"),
        (lambda: Fixed("2"), "an exit must be a whole number, got '2'"),
        (lambda: Budget(ms="2"), "a budget in ms must be a number, got '2'"),
        (lambda: Budget(gflops=True), "a budget in GFLOPs must be a number, got True"),
        (lambda: Budget(mj=float("nan")), "a budget in mJ must be positive, got nan"),
        (lambda: Deadline("5"), "a deadline in ms must be a number, got '5'"),
        (lambda: Deadline(None), "a deadline in ms must be a number, got None"),
        (lambda: Convergence(eps="x"), "eps of convergence must be a number, got 'x'"),
        (lambda: Convergence(eps=0), "eps of convergence must be positive, got 0"),
        (
            lambda: Convergence(patience=1.5),
            "patience of convergence must be a whole number, at least 1, got 1.5",
        ),
    ],
)
def test_a_policy_is_not_made_of_what_is_no_number(make, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        make()


def test_a_scorer_is_not_used_with_what_is_no_number(opened):
    for use, message in (
        (lambda: opened.gate_policy(risk="x"), "a risk must be a number, got 'x'"),
        (lambda: opened.gate_policy(risk=True), "a risk must be a number, got True"),
        (lambda: opened.gate_policy(ranked="60"), "a quality to rank below must be a whole"),
        (lambda: opened.set_gate(45.5), "a gate must be a whole number"),
        (lambda: opened.prepare(batch="4"), "batch must be a whole number, at least 1, got '4'"),
    ):
        with pytest.raises(ConfigError, match=message):
            use()
    assert opened.gate == 40


def test_numbers_of_numpy_are_numbers(opened):
    opened.set_gate(np.int64(55))
    assert type(opened.gate) is int
    assert opened.gate == 55
    assert Fixed(np.int32(2)) == Fixed(2)
    check_positive("ms", np.float32(0.5))
    check_number("risk", np.float64(0.01))


def test_a_long_value_is_cut():
    with pytest.raises(ConfigError) as refusal:
        whole_number("workers", [0] * 1000, 1)
    assert len(str(refusal.value)) < 120
