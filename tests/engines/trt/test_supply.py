"""Plans that have to be built: reported, stopped, kept or not kept, and by whom."""

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import psutil
import pytest

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.config import BuildRecipe, PlanOptions
from edge_fiqa.engines import machine, open_engine
from edge_fiqa.engines.build_progress import reporting_to
from edge_fiqa.errors import EngineFailed
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.types import Segment
from tests.engines.conftest import with_options


@pytest.fixture(scope="module")
def reference(bundle, faces):
    with open_engine(bundle, "ort") as engine:
        return all_exits(engine, faces)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache/edge_fiqa/tensorrt"


def plans(cache):
    return sorted(path.name for path in cache.rglob("*.plan"))


def half_written(cache):
    return [path.name for path in cache.rglob(".*") if path.is_file()]


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- ahead


def test_ahead_builds_every_plan_before_the_first_face(one_version, bundle, tmp_path, cache):
    world, heard = one_version(), []
    every = with_options(bundle, tmp_path, ahead=True, batches=(1, 4))
    with reporting_to(heard.append), open_engine(every, "trt") as engine:
        assert world.events.count("build") == 2 * len(bundle.segments)
        assert "enqueue" not in world.events
        assert engine._loaded == {}  # built and filed, not loaded: which are needed is not known
    assert len(plans(cache)) == 2 * len(bundle.segments)
    built = [event for event in heard if event is not None and event.state == "built"]
    assert [event.number for event in built] == list(range(1, len(built) + 1))
    assert {event.count for event in heard if event is not None} == {len(built)}
    assert {event.batch for event in built} == {1, 4}
    assert heard[-1] is None
    assert heard.count(None) == 1
    with reporting_to(heard.append), open_engine(every, "trt"):
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
    heard = []
    with reporting_to(heard.append):
        built = build_bundle(checkpoint, tmp_path / "b", recipe)
    assert world.events.count("build") == 2 * len(built.segments)
    assert max(event.count for event in heard if event) == 2 * len(built.segments)
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
    world, heard = one_version(), []
    with open_engine(bundle, "trt") as engine:
        engine.prepare(faces=[1])
        for path in list(cache.rglob("*.plan")):
            path.unlink()
        with reporting_to(heard.append):
            engine.prepare(faces=[1, 2])
    assert {event.count for event in heard if event} == {len(bundle.segments)}
    assert world.events.count("build") == 2 * len(bundle.segments)


def test_a_failing_plan_ends_the_opening(one_version, bundle, tmp_path):
    world, heard = one_version(), []
    every = with_options(bundle, tmp_path, ahead=True, batches=(1,))
    every.file_of(sorted(every.segments)[1]).write_bytes(b"garbage")
    with reporting_to(heard.append), pytest.raises(EngineFailed, match="cannot parse"):
        open_engine(every, "trt")
    assert [e.state for e in heard if e is not None][-1] == "failed"
    assert heard[-1] is None
    assert world.used() == 0


# ---- what is heard


def test_shares_rise_through_the_builders_phases(gpu, bundle):
    heard = []
    with reporting_to(heard.append), open_engine(bundle, "trt") as engine:
        engine.prepare([sorted(bundle.segments)[0]], [1])
    *steps, built, over = heard
    assert (built.state, over) == ("built", None)
    shares = [event.share for event in steps]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert len(set(shares)) >= 7
    assert {event.phase for event in steps} >= {"Building Engine", "Timing graph nodes"}
    assert steps[0].reason == "it was never built"


def test_a_plan_needed_unprepared_is_one_of_one(one_version, bundle, faces):
    one_version()
    heard = []
    segment = Segment(1, 4, tail=True)
    with reporting_to(heard.append), open_engine(bundle, "trt") as engine:
        engine.run(segment, faces[:1])
        engine.run(segment, faces[:2])
    assert {(e.number, e.count) for e in heard if e is not None} == {(1, 1)}
    assert heard.count(None) == 2


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
    apart, heard = with_options(bundle, tmp_path, child="always"), []
    with reporting_to(heard.append), open_engine(apart, "trt") as engine:
        engine.prepare([sorted(bundle.segments)[0]], [1])
    shares = [event.share for event in heard[:-1]]
    assert shares == sorted(shares)
    assert len(set(shares)) >= 5
    assert "Timing graph nodes" in {event.phase for event in heard[:-1]}
    assert capfd.readouterr().out == ""  # where records go


# ---- stopped


def test_ctrl_c_keeps_what_is_built_and_the_engine_usable(
    one_version, bundle, cache, faces, monkeypatch
):
    """The interrupt reaches the thread that waits; a signal to this process would stop pytest, too."""
    world, third = one_version(), threading.Event()

    def in_the_third(phase, step):
        if world.events.count("build") == 2 and not third.is_set():
            third.set()
            until(engine._cancelled.is_set)

    world.on_step = in_the_third
    with open_engine(bundle, "trt") as engine:
        call = engine._owner.call

        def interrupted(function, *arguments):
            monkeypatch.setattr(engine._owner, "call", call)
            engine._owner._calls.put((Future(), lambda: function(*arguments)))
            until(third.is_set)
            raise KeyboardInterrupt

        monkeypatch.setattr(engine._owner, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.prepare(faces=[1])
        assert len(plans(cache)) == 2
        assert half_written(cache) == []
        assert b"timed" in next(cache.glob("timing-*.bin")).read_bytes()
        engine.prepare(faces=[1])
        assert world.events.count("build") == len(bundle.segments)
        assert world.events.count("miss") == 1  # also what the stopped build timed is known


def test_timings_of_a_build_that_was_stopped_are_kept(one_version, bundle, cache):
    world = one_version()
    engine = open_engine(bundle, "trt")
    world.on_step = lambda phase, step: engine._cancelled.set()
    with pytest.raises(EngineFailed, match="was stopped"):
        engine.prepare(faces=[1])
    engine.close()
    assert plans(cache) == []
    assert b"timed" in next(cache.glob("timing-*.bin")).read_bytes()


def test_closed_while_it_builds(one_version, bundle, cache):
    world, building, said = one_version(), threading.Event(), []

    def slow(phase, step):
        building.set()
        time.sleep(0.05)

    world.on_step = slow
    engine = open_engine(bundle, "trt")

    def prepare():
        try:
            engine.prepare()
        except EngineFailed as exc:
            said.append(str(exc))

    thread = threading.Thread(target=prepare)
    thread.start()
    assert building.wait(10)
    engine.close()
    thread.join(10)
    assert "was stopped" in said[0]
    assert world.used() == 0
    assert half_written(cache) == []
    assert world.complaints == []


def test_a_build_waits_for_another_process_and_says_so(one_version, bundle, cache):
    one_version()
    heard, engine = [], open_engine(bundle, "trt")
    segment = sorted(bundle.segments)[0]
    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with reporting_to(heard.append):
            thread = threading.Thread(target=engine.prepare, args=([segment], [1]))
            thread.start()
            until(lambda: heard)
            assert heard[0].state == "waiting"
            fcntl.flock(lock, fcntl.LOCK_UN)
            thread.join(20)
    assert heard[-2].state == "built"
    engine.close()


def test_waiting_for_another_process_can_be_stopped(one_version, bundle, cache):
    one_version()
    heard, said, engine = [], [], open_engine(bundle, "trt")

    def prepare():
        with reporting_to(heard.append), pytest.raises(EngineFailed) as stopped:
            engine.prepare()
        said.append(str(stopped.value))

    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=prepare)
        thread.start()
        until(lambda: heard)
        engine.close()
        thread.join(10)
    assert "stopped while another process was at it" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("child", ["always", "never"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped(
    one_version, children, bundle, tmp_path, cache, monkeypatch, child, number, faces
):
    """Without a terminal it says lines; stopped, it leaves whole plans and no process."""
    import cv2

    one_version()
    monkeypatch.setenv("FAKE_STEP_S", "0.15")
    chosen = with_options(bundle, tmp_path, child=child, batches=(1,))
    cv2.imwrite(str(tmp_path / "face.png"), faces[0])
    command = [sys.executable, "-m", "edge_fiqa", "score", str(tmp_path / "face.png")]
    command += ["--backend", "trt", "--bundle", str(chosen.folder), "--policy", "convergence"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: plans(cache), 60)
    until(lambda: child == "never" or psutil.Process(process.pid).children())
    children_now = psutil.Process(process.pid).children(recursive=True)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does it
    else:
        process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, said
    assert "plan 1 of 4, body-01-01 for 1 face: building, as it was never built" in said
    assert "plan 1 of 4, body-01-01 for 1 face: built after" in said
    assert said.splitlines()[-1] == "edge-fiqa score: stopped"
    assert "Traceback" not in said
    assert half_written(cache) == []
    assert not [one for one in children_now if one.is_running()]
    for plan in cache.rglob("*.plan"):
        assert plan.with_name(plan.name + ".json").exists()


def test_what_a_killed_build_left_is_swept_away(one_version, bundle, cache):
    one_version()
    with open_engine(bundle, "trt") as engine:
        folder = engine._supply.store.folder
        for name in (".body-01-01-b1.plan.4711", ".body-01-01-b1.plan.json.4711"):
            (folder / name).write_bytes(b"half")
        engine.prepare([sorted(bundle.segments)[0]], [1])
        assert half_written(cache) == []


# ---- kept or not


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
    world, heard = one_version(), []
    with open_engine(bundle, "trt") as engine:
        all_exits(engine, faces[:1])
    plan = next(cache.rglob("body-01-01-b1.plan"))
    os.chown(plan, 4711, 4711)
    world.events.clear()
    with reporting_to(heard.append), open_engine(bundle, "trt") as engine:
        all_exits(engine, faces[:1])
    assert world.events.count("build") == 1
    assert "belongs to another user, and a plan is code" in heard[0].reason
    assert plan.stat().st_uid == 0


def test_the_manifest_is_written_last(one_version, bundle, cache):
    one_version()
    with open_engine(bundle, "trt") as engine:
        engine.prepare([sorted(bundle.segments)[0]], [1])
    plan = next(cache.rglob("*.plan"))
    manifest = plan.with_name(plan.name + ".json")
    assert manifest.stat().st_mtime_ns >= plan.stat().st_mtime_ns
    assert json.loads(manifest.read_text(encoding="utf-8"))["batch"] == 1
