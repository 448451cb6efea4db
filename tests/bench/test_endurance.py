"""A run without a pause, on a clock and a machine that the test makes up."""

import msgspec
import pytest

from edge_fiqa.bench import report
from edge_fiqa.bench.conditions import Conditions
from edge_fiqa.bench.endurance import INTERVALS, EnduranceResult, measure, plot, slowdown


class WarmMachine:
    """10 ms a call and 20 ms once it has worked for a minute: as a board that throttles."""

    def __init__(self):
        self.now_s = 0.0

    def work(self):
        self.now_s += 0.010 if self.now_s < 60 else 0.020

    def conditions(self):
        cool = self.now_s < 60
        return Conditions(2400 if cool else 1200, None, 50.0 if cool else 85.0)


@pytest.fixture
def result():
    machine = WarmMachine()
    intervals = measure(machine.work, 120.0, lambda: machine.now_s, machine.conditions)
    return EnduranceResult(
        bundle="b", backend="ov", precision="int8", threads=2, exit=12, batch=1,
        environment={"cpu": "x"}, intervals=intervals,
        slowdown=slowdown([interval.p50_ms for interval in intervals]),
    )  # fmt: skip


def test_a_board_that_becomes_slower_is_seen(result):
    first, last = result.intervals[0], result.intervals[-1]
    assert len(result.intervals) == INTERVALS
    assert (first.calls, first.p50_ms, first.cpu_mhz) == (200, pytest.approx(10), 2400)
    assert (last.calls, last.p50_ms, last.temperature_c) == (100, pytest.approx(20), 85.0)
    assert last.at_s == pytest.approx(120, abs=0.1)
    assert result.slowdown == pytest.approx(2.0)
    assert result.throttled
    text = "\n".join(report.endurance(result))
    assert "THROTTLES" in text
    assert "2.000 times" in text


def test_one_that_does_not(result):
    steady = msgspec.structs.replace(result, slowdown=slowdown([10.0, 10.2, 9.9, 10.1]))
    assert not steady.throttled
    assert "no throttling seen" in "\n".join(report.endurance(steady))


def test_a_call_that_is_longer_than_an_interval_is_counted_once_in_each():
    machine = WarmMachine()
    intervals = measure(machine.work, 0.01, lambda: machine.now_s, machine.conditions)
    assert {interval.calls for interval in intervals} == {1}


def test_the_plot(result, tmp_path):
    plot(result, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
