"""Costs of segments: each is run where its tokens are, and the median of its own runs is taken."""

import importlib.metadata
from types import SimpleNamespace

import pytest

from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.measurement import segment_costs
from edge_fiqa.measurement.segment_costs import cost_table, measure_costs, measured_costs
from edge_fiqa.types import Segment

DURATION_MS = {"body-01-01": 2.0, "tail-01-01": 1.0, "body-02-02": 8.0, "tail-02-02": 4.0}


class Clock:
    """A clock that only engines move: by what each segment takes, three times as long at first."""

    def __init__(self):
        self.now_s = 0.0
        self.runs = {}
        self.slower = 1

    def __call__(self):
        return self.now_s

    def run(self, segment, faces):
        assert faces == 1
        self.runs[segment.name] = self.runs.get(segment.name, 0) + 1
        cold = 3 if self.runs[segment.name] <= 3 else 1
        self.now_s += self.slower * cold * DURATION_MS[segment.name] / 1e3


class Meter:
    """One watt, by the same clock."""

    name = "meter"

    def __init__(self, clock):
        self.clock, self.closed = clock, False

    def joules(self):
        return self.clock()

    def close(self):
        self.closed = True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(segment_costs, "time", SimpleNamespace(perf_counter=clock))
    return clock


@pytest.fixture
def engine(clock, monkeypatch):
    engine = FakeEngine(scores=[[1, 2]], on_run=clock.run)
    monkeypatch.setattr(segment_costs, "synthetic_faces", lambda count: engine.faces[:count])
    return engine


def test_the_median_without_the_first_runs(engine):
    costs = measure_costs(engine, repeats=5, warm_up=3)
    measured = {Segment(cost.first, cost.last, cost.tail).name: cost.ms for cost in costs}
    assert measured == DURATION_MS
    assert [cost.mj for cost in costs] == [None] * 4


def test_a_slow_network_is_measured_less_often(engine, clock):
    measure_costs(engine, repeats=20, warm_up=3)
    often = dict(clock.runs)
    clock.runs.clear()
    clock.slower = 1000  # a pass takes longer than all repeats may
    costs = measure_costs(engine, repeats=20, warm_up=3)
    assert {name: runs * 8 // 23 for name, runs in often.items()} == clock.runs
    measured = {Segment(c.first, c.last, c.tail).name: c.ms for c in costs}
    assert measured == {name: 1000 * ms for name, ms in DURATION_MS.items()}


def test_warm_up_counts(engine):
    costs = measure_costs(engine, repeats=1, warm_up=0)
    assert {Segment(c.first, c.last, c.tail).name: c.ms for c in costs} == {
        name: 3 * ms for name, ms in DURATION_MS.items()
    }


def test_energy_is_that_of_one_run(engine, clock, monkeypatch):
    def energy_of(meter, work, seconds):
        return segment_costs_energy_of(meter, work, seconds=seconds, clock=clock)

    segment_costs_energy_of = segment_costs.energy_of
    monkeypatch.setattr(segment_costs, "energy_of", energy_of)
    for cost in measure_costs(engine, meter=Meter(clock)):
        assert cost.mj == pytest.approx(cost.ms)  # 1 W for so many ms


def test_whole_routes_are_in_memory_one_at_a_time(engine, monkeypatch):
    engine.segments |= {Segment(1, 2), Segment(1, 2, tail=True)}
    for name in ("body-01-02", "tail-01-02"):
        monkeypatch.setitem(DURATION_MS, name, 10.0)
    loaded, most = set(), []

    def run(segment, faces):
        loaded.add(segment)
        most.append({s for s in loaded if s.first == 1 and s != Segment(1, 1)})
        assert not (most[-1] and Segment(2, 2) in loaded), "steps and a route at once"

    monkeypatch.setattr(engine, "on_run", run)
    monkeypatch.setattr(engine, "release", loaded.difference_update)
    costs = measure_costs(engine, repeats=2, warm_up=1, release=True)
    assert {Segment(c.first, c.last, c.tail) for c in costs} == engine.segments
    assert {frozenset(routes) for routes in most} == {
        frozenset(),
        *(frozenset([s]) for s in engine.segments if s.first == 1 and s != Segment(1, 1)),
    }


def test_an_engine_that_goes_on_keeps_what_it_loaded(engine, monkeypatch):
    monkeypatch.setattr(engine, "release", lambda segments: pytest.fail("it scores faces next"))
    measure_costs(engine, repeats=1)


def test_a_cost_table_of_now(engine):
    table = cost_table(engine, repeats=5)
    assert table.ms[Segment(2, 2, tail=True)] == DURATION_MS["tail-02-02"]


def test_the_meter_is_closed_and_the_library_named(engine, clock, monkeypatch):
    meter = Meter(clock)
    monkeypatch.setattr(segment_costs, "find_meter", lambda device: (meter, ""))
    monkeypatch.setattr(segment_costs, "LIBRARIES", {"fake": "numpy"})
    monkeypatch.setattr(segment_costs, "_energy", lambda *arguments: {})
    costs = measured_costs(engine)
    assert meter.closed
    assert costs.backend_version == importlib.metadata.version("numpy")
    assert (costs.device, costs.backend, costs.threads) == ("nowhere", "fake", 1)
    engine.version = "10.3"  # of an engine whose library no package of Python's describes
    assert measured_costs(engine).backend_version == "10.3"
