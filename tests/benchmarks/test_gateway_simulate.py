"""The simulator against queues that can be followed by hand."""

import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edge_fiqa.gateway.queue.schedule import Rules, Speed, at_fixed_exit, grant_depth

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/gateway_simulate.py"))
Arrival, poisson = SCRIPT["Arrival"], SCRIPT["poisson"]
simulate, summarise = SCRIPT["simulate"], SCRIPT["summarise"]

SPEED = Speed((1, 2), (0.1, 0.2))
QUALITY = np.array([[50.0, 60.0], [80.0, 70.0], [10.0, 20.0]])
OURS = partial(grant_depth, rules=Rules(least_exit=1, utilisation=1.0, margin_s=0.0, caution=1.0))


def come(*times, deadline_s=1.0, tracks=None):
    return [
        Arrival(t, t + deadline_s, n % 3, tracks[n] if tracks else n) for n, t in enumerate(times)
    ]


def run(arrivals, strategy, **more):
    outcome = simulate(arrivals, QUALITY, more.pop("speed", SPEED), strategy, 65.0, **more)
    return outcome, summarise(arrivals, outcome, QUALITY, (1, 2))


def test_one_after_the_other_at_full_depth():
    outcome, summary = run(come(0.0, 0.1, 1.0), at_fixed_exit)
    assert outcome.exits == [2, 2, 2]
    assert outcome.answered == pytest.approx([0.2, 0.4, 1.2])
    assert (summary.in_time, summary.regret, summary.tracks_regret) == (1.0, 0.0, 0.0)
    assert summary.busy_share == pytest.approx(0.6 / 1.2)


def test_full_depth_drops_what_less_depth_can_answer():
    arrivals = come(0.0, 0.0, 0.0, deadline_s=0.35)
    full, dropped = run(arrivals, at_fixed_exit)
    assert (full.dropped, dropped.in_time) == (2, pytest.approx(1 / 3))
    ours, summary = run(arrivals, OURS)
    assert (ours.exits, summary.in_time) == ([1, 1, 1], 1.0)
    assert summary.regret == pytest.approx(10.0)


def test_two_workers_work_at_the_same_time():
    two = Speed((1, 2), (0.1, 0.2), workers=2)
    outcome, _ = run(come(0.0, 0.0), at_fixed_exit, speed=two)
    assert outcome.answered == pytest.approx([0.2, 0.2])


def test_faces_of_a_good_track_are_skipped_only_once_it_is_known():
    """Track 7 scores 70 at 0.2 s: the three faces of it that come later are spare."""
    arrivals = [
        Arrival(0.0, 1.0, 1, 7),
        *(Arrival(0.5, 0.75, 1, 7) for _ in range(3)),
        *(Arrival(0.5, 0.75, 2, 8 + n) for n in range(2)),
    ]
    outcome, summary = run(arrivals, OURS)
    assert (outcome.skipped, outcome.dropped) == (3, 0)
    assert summary.in_time == pytest.approx(3 / 6)


def test_a_slow_run_makes_the_next_ones_late():
    outcome, summary = run(
        come(0.0, 0.0, deadline_s=0.5), at_fixed_exit, slowness=np.array([3.0, 1.0])
    )
    assert outcome.answered[0] == pytest.approx(0.6)
    assert summary.misses == 0.5
    assert outcome.dropped == 1


def test_a_track_without_an_answer_loses_all_its_quality():
    arrivals = come(0.0, 0.0, deadline_s=0.25)
    _, summary = run(arrivals, at_fixed_exit)
    assert summary.unanswered_tracks == 0.5
    assert summary.tracks_regret == pytest.approx(60.0 / 2)


def test_arrivals_have_the_rate_asked_for():
    arrivals = poisson(np.random.default_rng(0), 50.0, 200.0, 0.5, [[0] * 30, [1] * 10], fps=10)
    assert len(arrivals) == pytest.approx(50 * 200, rel=0.1)
    assert all(0 <= a.time < 200 and a.deadline - a.time == pytest.approx(0.5) for a in arrivals)
    times = [a.time for a in arrivals]
    assert times == sorted(times)


@pytest.mark.parametrize("load", [0.5, 2.0, 4.0])
def test_ours_answers_in_time_at_any_load(load):
    """A machine whose exits cost 1..6: at 4 times full-depth capacity all can still be answered."""
    speed = Speed(tuple(range(1, 7)), tuple(0.01 * k for k in range(1, 7)))
    quality = np.tile(np.linspace(40, 60, 6), (5, 1))
    rng = np.random.default_rng(1)
    arrivals = poisson(rng, load * speed.capacity, 60.0, 0.5, [[0, 1, 2, 3, 4]])
    outcome = simulate(arrivals, quality, speed, partial(grant_depth, rules=Rules(1)), 101.0)
    summary = summarise(arrivals, outcome, quality, speed.exits)
    assert summary.in_time > 0.99
    full = simulate(arrivals, quality, speed, at_fixed_exit, 101.0)
    if load > 1:
        assert summarise(arrivals, full, quality, speed.exits).in_time < 1.1 / load
