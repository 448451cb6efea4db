"""Plans that have to be built: before the first face or when they are needed, with reports."""

import errno

import numpy as np
import pytest

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.config import BuildRecipe, PlanOptions
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.build_progress import reporting_to
from edge_fiqa.errors import EngineFailed
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.types import Segment
from tests.engines.conftest import with_garbage, with_options
from tests.engines.trt.conftest import plans

# ---- ahead


def test_ahead_builds_every_plan_before_the_first_face(one_version, bundle, tmp_path, cache):
    world, reports = one_version(), []
    every = with_options(bundle, tmp_path, ahead=True, batches=(1, 4))
    with reporting_to(reports.append), open_engine(every, "trt") as engine:
        assert world.events.count("build") == 2 * len(bundle.segments)
        assert "enqueue" not in world.events
        assert engine._loaded == {}  # built and saved, not loaded: which are needed is not known
    assert len(plans(cache)) == 2 * len(bundle.segments)
    built = [event for event in reports if event is not None and event.state == "built"]
    assert [event.number for event in built] == list(range(1, len(built) + 1))
    assert {event.count for event in reports if event is not None} == {len(built)}
    assert {event.batch for event in built} == {1, 4}
    assert reports[-1] is None
    assert reports.count(None) == 1
    with reporting_to(reports.append), open_engine(every, "trt"):
        assert world.events.count("build") == len(built)


def test_ahead_with_one_plan_for_every_batch(one_version, bundle, tmp_path, cache):
    one_version()
    dynamic = with_options(bundle, tmp_path, ahead=True, dynamic=True, batches=(1, 2, 8))
    with open_engine(dynamic, "trt"):
        assert len(plans(cache)) == len(bundle.segments)


def test_build_builds_them_with_the_bundle(one_version, checkpoint, tmp_path, cache):
    world = one_version()
    options = PlanOptions(ahead=True, batches=(1, 2))
    recipe = BuildRecipe(backend="trt", segments="2,4", plans=options)
    reports = []
    with reporting_to(reports.append):
        built = build_bundle(checkpoint, tmp_path / "b", recipe)
    assert world.events.count("build") == 2 * len(built.segments)
    assert max(event.count for event in reports if event) == 2 * len(built.segments)
    world.events.clear()
    with open_engine(built, "trt") as engine:
        engine.prepare()
    assert "build" not in world.events


def test_no_batch_size_needs_no_plan(one_version, bundle):
    world = one_version()
    with open_engine(bundle, "trt") as engine:
        engine.prepare(faces=[])
        engine.prepare([], [1])
    assert "build" not in world.events


def test_what_is_loaded_is_not_counted_again(one_version, bundle, cache):
    world, reports = one_version(), []
    with open_engine(bundle, "trt") as engine:
        engine.prepare(faces=[1])
        for path in list(cache.rglob("*.plan")):
            path.unlink()
        with reporting_to(reports.append):
            engine.prepare(faces=[1, 2])
    assert {event.count for event in reports if event} == {len(bundle.segments)}
    assert world.events.count("build") == 2 * len(bundle.segments)


def test_a_failing_plan_ends_the_opening(one_version, bundle, tmp_path):
    world, reports = one_version(), []
    every = with_options(bundle, tmp_path, ahead=True, batches=(1,))
    every = with_garbage(every, sorted(every.segments)[1])
    with reporting_to(reports.append), pytest.raises(EngineFailed, match="cannot parse"):
        open_engine(every, "trt")
    assert [e.state for e in reports if e is not None][-1] == "failed"
    assert reports[-1] is None
    assert world.used() == 0


# ---- reports


def test_shares_rise_through_the_builders_phases(gpu, bundle):
    reports = []
    with reporting_to(reports.append), open_engine(bundle, "trt") as engine:
        engine.prepare([sorted(bundle.segments)[0]], [1])
    *steps, built, over = reports
    assert (built.state, over) == ("built", None)
    shares = [event.share for event in steps]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert len(set(shares)) >= 7
    assert {event.phase for event in steps} >= {"Building engine", "Timing graph nodes"}
    assert steps[0].reason == "it was never built"


def test_a_plan_needed_unprepared_is_one_of_one(one_version, bundle, faces):
    one_version()
    reports = []
    segment = Segment(1, 4, tail=True)
    with reporting_to(reports.append), open_engine(bundle, "trt") as engine:
        engine.run(segment, faces[:1])
        engine.run(segment, faces[:2])
    assert {(e.number, e.count) for e in reports if e is not None} == {(1, 1)}
    assert reports.count(None) == 2


def test_whoever_listens_may_fail(one_version, bundle, faces, reference):
    world = one_version()

    def gone(event):
        raise BrokenPipeError(errno.EPIPE, "the terminal was closed")

    with reporting_to(gone), open_engine(bundle, "trt") as engine:
        np.testing.assert_allclose(all_exits(engine, faces[:1]), reference[:1], atol=1e-5)
    assert world.complaints == []


@pytest.mark.slow
def test_a_childs_steps_are_heard_here_and_nothing_else(
    one_version, children, bundle, tmp_path, monkeypatch, capfd
):
    one_version()
    with (tmp_path / "site/sitecustomize.py").open("a", encoding="utf-8") as site:
        site.write("print('what a library prints', flush=True)\n")
    monkeypatch.setenv("FAKE_STEP_S", "0.12")
    apart, reports = with_options(bundle, tmp_path, child="always"), []
    with reporting_to(reports.append), open_engine(apart, "trt") as engine:
        engine.prepare([sorted(bundle.segments)[0]], [1])
    shares = [event.share for event in reports[:-1]]
    assert shares == sorted(shares)
    assert len(set(shares)) >= 5
    assert "Timing graph nodes" in {event.phase for event in reports[:-1]}
    assert capfd.readouterr().out == ""  # where records go
