"""Rounds on a clock that the test moves."""

import numpy as np
import pytest

from edge_fiqa.bench.timing import Effort, Times, in_rounds, median_interval


class Clock:
    def __init__(self):
        self.now, self.log = 0.0, []

    def __call__(self):
        return self.now

    def work(self, name, ms):
        def run():
            self.log.append(name)
            self.now += 1e-3 * ms

        return run


def test_every_contender_has_its_turn_in_every_round():
    clock = Clock()
    contenders = {"a": clock.work("a", 10), "b": clock.work("b", 30)}
    times = in_rounds(contenders, Effort(rounds=3, turn_ms=20, warm_up=1), clock)
    # warm-up, then per round one uncounted call after the other's turn, and as many as fit
    assert "".join(clock.log) == "ab" + ("aaa" + "bb") * 3
    assert times["a"].ms.shape == (3, 2)
    assert times["b"].rounds == pytest.approx([30, 30, 30])


def test_the_tail_is_unknown_from_few_calls():
    ms = np.arange(1.0, 100.0).reshape(9, 11)
    assert Times(ms).percentile(99) is None
    assert Times(ms).percentile(50) == 50
    assert Times(np.arange(0.0, 101.0).reshape(1, 101)).percentile(99) == 99


def test_the_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = median_interval(rng.exponential(size=40), resamples=300, seed=trial)
        covered += low <= np.log(2) <= high
    assert 0.88 <= covered / 200 <= 1
