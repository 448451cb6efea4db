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


def test_a_depth_that_is_known_is_never_stopped_before():
    marked = Fixed().stop(progress([1], [2]))
    assert (marked.tolist(), marked.dtype) == ([False, False], bool)


@pytest.mark.parametrize("policy", [Convergence(), Deadline(1)])
def test_a_policy_that_watches_may_need_the_whole_network(policy):
    assert policy.limit(FORECAST) == 9


def test_a_deeper_exit_may_be_cheaper():
    """The whole network as one segment can cost less than almost all of it in pieces."""
    assert Budget(ms=25).limit(Forecast((3, 6, 9), (1, 2, 3), (10, 26, 24))) == 9


def test_budget_in_ms_needs_measurements():
    assert Budget(gflops=2).limit(UNMEASURED) == 6
    assert (Budget(gflops=2).needs_ms, Budget(gflops=2, ms=20).needs_ms) == (False, True)
    with pytest.raises(ConfigError) as refused:
        Budget(ms=20).limit(UNMEASURED)
    assert str(refused.value) == "a budget in ms needs the bundle's measured cost table"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Budget(), "a budget needs --budget-ms, --budget-gflops or --budget-mj"),
        (lambda: Budget(ms=0), "a budget in ms must be positive, got 0"),
        (lambda: Budget(gflops=-1), "a budget in GFLOPs must be positive, got -1"),
        (lambda: Budget(ms=float("nan")), "a budget in ms must be positive, got nan"),
        (lambda: Deadline(0), "a deadline in ms must be positive, got 0"),
        (lambda: Convergence(eps=0), "eps of convergence must be positive, got 0"),
        (lambda: Convergence(patience=0), "patience of convergence must be at least 1, got 0"),
        (lambda: Fixed(2.5), "an exit must be a whole number, got 2.5"),
    ],
)
def test_impossible_policies_are_refused(make, reason):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == reason


def test_convergence_wants_every_one_of_the_last_moves_small():
    policy = Convergence(eps=0.1, patience=2)
    stop = policy.stop(progress([0, 0.05, 0.1], [0, 0.05, 0.2], [0, 0.2, 0.21], [1, 1, 1]))
    assert stop.tolist() == [True, False, False, True]
    halves = progress([0, 0.5], [0, 0.25])  # exact in binary: a move of eps is not less than eps
    assert Convergence(eps=0.5, patience=1).stop(halves).tolist() == [False, True]


def test_convergence_needs_patience_plus_one_decisions():
    too_early = Convergence(eps=9, patience=2).stop(progress([1, 1]))
    assert (too_early.tolist(), too_early.dtype) == ([False], bool)
    assert Convergence(eps=9, patience=1).stop(progress([99, 1, 1])).all()  # older moves are past
    assert Convergence(eps=9, patience=1).stop(progress([1, 1])).all()


def test_convergence_never_stops_on_nan():
    assert not Convergence(eps=9, patience=1).stop(progress([1, np.nan])).any()


def test_deadline_looks_at_the_end_of_the_next_segment():
    policy = Deadline(10)
    assert policy.stop(progress([1.0], elapsed=6, following=5)).all()
    assert not policy.stop(progress([1.0], elapsed=6, following=4)).any()
    assert not policy.stop(progress([1.0], elapsed=9.5)).any()  # the next one was not measured
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
    with pytest.raises(ConfigError) as refused:
        Budget(mj=10).limit(FORECAST)
    assert str(refused.value) == (
        "a budget in mJ needs energy measured on this device; where it has a meter, "
        "run edge-fiqa bench --update-costs"
    )
    with pytest.raises(ConfigError, match="mJ must be positive"):
        Budget(mj=-1)
