"""Times of frames: stamps as they are, counts where there are none, and never backwards."""

import math

import numpy as np
import pytest

from edge_fiqa.footage.frame_times import FrameClock, FrameTimes


def times(clock, stamps):
    running = FrameTimes(clock)
    return [running.next(number, stamp) for number, stamp in enumerate(stamps)], running.restarts


def test_a_wrong_stated_rate_does_not_matter_where_there_are_stamps():
    stamps = [0.0, 33.0, 67.0, 100.0]
    for stated in (25.0, 1000.0, 0.0, math.nan):
        clock = FrameClock.of(stamps, stated)
        assert clock.stamped
        assert clock.warning is None
        assert clock.period_s == pytest.approx(0.033, abs=1e-3)
        assert times(clock, stamps) == ([0.0, 0.033, 0.067, 0.1], 0)


def test_without_stamps_frames_are_counted_and_it_is_said():
    clock = FrameClock.of([0.0] * 5, 12.5)
    assert not clock.stamped
    assert "12.5 frames/s (as it states)" in clock.warning
    assert times(clock, [0.0] * 3) == ([0.0, 0.08, 0.16], 0)
    doubtful = FrameClock.of([0.0, 1.0, 2.0], 1000.0)
    assert not doubtful.stamped
    assert doubtful.period_s == 0.04
    assert "states 1000" in doubtful.warning
    assert "may be wrong" in doubtful.warning


def test_one_frame_has_the_time_of_its_stamp():
    assert times(FrameClock.of([0.0], 0.0), [0.0]) == ([0.0], 0)


def test_times_rise_where_stamps_repeat_and_go_on_where_recordings_were_joined():
    clock = FrameClock(True, 0.04)
    rising, restarts = times(clock, [0.0, 40.0, 40.0, 80.0, 79.0, 120.0])
    assert restarts == 0
    assert (np.diff(rising) > 0).all()
    assert rising[-1] == 0.12
    joined, restarts = times(clock, [0.0, 5000.0, 10000.0, 0.0, 5000.0])
    assert (joined, restarts) == ([0.0, 5.0, 10.0, 10.04, 15.04], 1)


def test_a_stamp_that_is_no_number_is_counted():
    rising, _ = times(FrameClock(True, 0.04), [0.0, math.nan, 80.0])
    assert rising == [0.0, 0.04, 0.08]
