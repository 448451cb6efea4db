"""Plans that are kept, not kept, or not used although they are there."""

import json
import os
import resource
from dataclasses import replace

import numpy as np
import pytest

from edge_fiqa.engines import machine, open_engine
from edge_fiqa.engines.build_progress import reporting_to
from edge_fiqa.measurement.all_exits import all_exits
from tests.engines.conftest import with_options
from tests.engines.trt.conftest import half_written, plans


def test_a_full_disk_costs_the_file_and_not_the_face(
    one_version, bundle, faces, reference, cache, caplog
):
    world = one_version()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_engine(bundle, "trt") as engine:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            np.testing.assert_allclose(all_exits(engine, faces[:1]), reference[:1], atol=1e-5)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert plans(cache) == []
    assert half_written(cache) == []
    assert world.events.count("build") == 4
    assert "body-01-01-b1.plan: File too large; the plan is used and not kept" in caplog.text


@pytest.mark.parametrize("ahead", [False, True])
def test_a_cache_that_cannot_be_written(
    one_version, bundle, faces, reference, tmp_path, monkeypatch, caplog, ahead
):
    world = one_version()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "file"))
    chosen = with_options(bundle, tmp_path, ahead=ahead, batches=(1,))
    with open_engine(chosen, "trt") as engine:
        np.testing.assert_allclose(all_exits(engine, faces[:1]), reference[:1], atol=1e-5)
        assert world.events.count("build") == (len(bundle.segments) if ahead else 4)
        assert world.events.count("miss") == 1  # timings are shared all the same
        temporary = engine._supply.store.timing.parent
        assert temporary.exists()
    assert not temporary.exists()
    assert "plans cannot be kept in" in caplog.text
    assert "set EDGE_FIQA_CACHE to a folder that can be written" in caplog.text


def test_plans_that_are_there_are_used_where_nothing_can_be_written(
    one_version, bundle, faces, reference, monkeypatch, cache
):
    world = one_version()
    with open_engine(bundle, "trt") as engine:
        all_exits(engine, faces[:1])
    before = plans(cache)
    from edge_fiqa.engines.trt import plans as trt_plans

    monkeypatch.setattr(trt_plans, "not_writable", lambda folder: "Read-only file system")
    world.events.clear()
    with open_engine(bundle, "trt") as engine:
        np.testing.assert_allclose(all_exits(engine, faces[:1]), reference[:1], atol=1e-5)
        assert "build" not in world.events
        engine.prepare(faces=[2])
    assert world.events.count("build") == len(bundle.segments)
    assert plans(cache) == before


def test_another_power_mode_has_plans_of_its_own(one_version, bundle, monkeypatch, faces, cache):
    world, now = one_version(), machine.read_machine()
    for mode in ("MAXN", "15W", "MAXN"):
        monkeypatch.setattr(
            machine, "read_machine", lambda mode=mode: replace(now, power_mode=mode)
        )
        with open_engine(bundle, "trt") as engine:
            all_exits(engine, faces[:1])
    assert world.events.count("build") == 2 * 4
    assert {path.parent.name for path in cache.rglob("*.plan")} == {"MAXN", "15W"}


def test_a_mode_that_changes_under_an_engine_spoils_no_file(
    one_version, bundle, monkeypatch, faces, cache, caplog
):
    one_version()
    now = machine.read_machine()
    with open_engine(bundle, "trt") as engine:
        monkeypatch.setattr(machine, "read_machine", lambda: replace(now, power_mode="15W"))
        all_exits(engine, faces[:1])
    assert plans(cache) == []
    assert "the power mode changed from None to 15W" in caplog.text


def test_the_plan_of_another_user_is_not_run(one_version, bundle, faces, cache):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    world, reports = one_version(), []
    with open_engine(bundle, "trt") as engine:
        all_exits(engine, faces[:1])
    plan = next(cache.rglob("body-01-01-b1.plan"))
    os.chown(plan, 4711, 4711)
    world.events.clear()
    with reporting_to(reports.append), open_engine(bundle, "trt") as engine:
        all_exits(engine, faces[:1])
    assert world.events.count("build") == 1
    assert "belongs to another user, and a plan is code" in reports[0].reason
    assert plan.stat().st_uid == 0


def test_the_manifest_is_written_last(one_version, bundle, cache):
    one_version()
    with open_engine(bundle, "trt") as engine:
        engine.prepare([sorted(bundle.segments)[0]], [1])
    plan = next(cache.rglob("*.plan"))
    manifest = plan.with_name(plan.name + ".json")
    assert manifest.stat().st_mtime_ns >= plan.stat().st_mtime_ns
    assert json.loads(manifest.read_text(encoding="utf-8"))["batch"] == 1
