"""Policies as pure functions: limits before, stops during."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.policies.policy import (
    Budget,
    Convergence,
    Deadline,
    Fixed,
    Forecast,
    Progress,
    first_to_stop,
)

FORECAST = Forecast(exits=(3, 6, 9), gflops=(1.0, 2.0, 3.0), ms=(10.0, 20.0, 30.0))
UNMEASURED = Forecast(exits=(3, 6, 9), gflops=(1.0, 2.0, 3.0), ms=None)


def progress(
    *estimates: list[float], elapsed: float = 0.0, following: float | None = None
) -> Progress:
    return Progress(np.array(estimates, np.float32), 1, elapsed, following)


def test_fixed():
    assert Fixed().limit(FORECAST) == 9
    assert Fixed(6).limit(FORECAST) == 6
    assert (Fixed().reason, Fixed(6).reason) == ("full", "fixed")
    with pytest.raises(ConfigError, match="exit 4 does not exist; this bundle can stop at 3, 6, 9"):
        Fixed(4).limit(FORECAST)


@pytest.mark.parametrize(
    ("budget", "depth"),
    [
        (Budget(ms=30), 9),
        (Budget(ms=29.9), 6),
        (Budget(ms=10), 3),
        (Budget(ms=1), 3),  # nothing fits: the first exit still answers
        (Budget(gflops=2.5), 6),
        (Budget(ms=30, gflops=1), 3),
    ],
)
def test_budget_takes_the_deepest_exit_that_fits(budget, depth):
    assert budget.limit(FORECAST) == depth


def test_a_deeper_exit_may_be_cheaper():
    """The whole network as one segment can cost less than almost all of it in pieces."""
    assert Budget(ms=25).limit(Forecast((3, 6, 9), (1, 2, 3), (10, 26, 24))) == 9


def test_budget_in_ms_needs_measurements():
    assert Budget(gflops=2).limit(UNMEASURED) == 6
    assert (Budget(gflops=2).needs_ms, Budget(gflops=2, ms=20).needs_ms) == (False, True)
    with pytest.raises(ConfigError, match="cost table"):
        Budget(ms=20).limit(UNMEASURED)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(),
        lambda: Budget(ms=0),
        lambda: Budget(gflops=-1),
        lambda: Budget(ms=float("nan")),
        lambda: Deadline(0),
        lambda: Convergence(eps=0),
        lambda: Convergence(patience=0),
    ],
)
def test_impossible_policies_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_convergence_wants_every_one_of_the_last_moves_small():
    policy = Convergence(eps=0.1, patience=2)
    stop = policy.stop(progress([0, 0.05, 0.1], [0, 0.05, 0.2], [0, 0.2, 0.21], [1, 1, 1]))
    assert stop.tolist() == [True, False, False, True]
    halves = progress([0, 0.5], [0, 0.25])  # exact in binary: a move of eps is not less than eps
    assert Convergence(eps=0.5, patience=1).stop(halves).tolist() == [False, True]


def test_convergence_needs_patience_plus_one_decisions():
    assert not Convergence(eps=9, patience=2).stop(progress([1, 1])).any()
    assert Convergence(eps=9, patience=1).stop(progress([1, 1])).all()


def test_convergence_never_stops_on_nan():
    assert not Convergence(eps=9, patience=1).stop(progress([1, np.nan])).any()


def test_deadline_looks_at_the_end_of_the_next_segment():
    policy = Deadline(10)
    assert policy.stop(progress([1.0], elapsed=6, following=5)).all()
    assert not policy.stop(progress([1.0], elapsed=6, following=4)).any()
    assert not policy.stop(progress([1.0], elapsed=6)).any()
    assert policy.stop(progress([1.0], elapsed=10.1)).all()


def test_the_first_policy_to_stop_a_face_gives_the_reason():
    policies = [Convergence(eps=0.1, patience=1), Deadline(5)]
    reasons = first_to_stop(policies, progress([1, 1], [1, 2], elapsed=9))
    assert reasons == ["convergence", "deadline"]
    assert first_to_stop(policies, progress([1, 2], elapsed=1)) == [None]


def test_budget_in_mj():
    measured = Forecast((3, 6, 9), (1, 2, 3), None, (5.0, 9.0, 14.0))
    assert Budget(mj=10).limit(measured) == 6
    assert Budget(mj=9).limit(measured) == 6
    assert Budget(mj=10, gflops=1).limit(measured) == 3
    with pytest.raises(ConfigError, match="bench --update-costs"):
        Budget(mj=10).limit(FORECAST)
    with pytest.raises(ConfigError, match="mJ must be positive"):
        Budget(mj=-1)
