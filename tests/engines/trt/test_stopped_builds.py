"""Builds that are stopped, killed, or wait for another process."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import psutil
import pytest

from edge_fiqa.engines import open_engine
from edge_fiqa.engines.build_progress import reporting_to
from edge_fiqa.errors import EngineFailed
from tests.engines.conftest import with_options
from tests.engines.trt.conftest import half_written, plans
from tests.waiting import until


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

    def cancel(phase, step):
        if phase == "Timing graph nodes":
            engine._cancelled.set()

    world.on_step = cancel
    with pytest.raises(EngineFailed, match="was stopped"):
        engine.prepare(faces=[1])
    engine.close()
    assert plans(cache) == []
    assert b"timed" in next(cache.glob("timing-*.bin")).read_bytes()


def test_closed_while_it_builds(one_version, bundle, cache):
    world, building, messages = one_version(), threading.Event(), []

    def slow(phase, step):
        building.set()
        time.sleep(0.05)

    world.on_step = slow
    engine = open_engine(bundle, "trt")

    def prepare():
        try:
            engine.prepare()
        except EngineFailed as exc:
            messages.append(str(exc))

    thread = threading.Thread(target=prepare)
    thread.start()
    assert building.wait(100)
    engine.close()
    thread.join(100)
    assert "was stopped" in messages[0]
    assert world.used() == 0
    assert half_written(cache) == []
    assert world.complaints == []


def test_a_build_waits_for_another_process_and_says_so(one_version, bundle, cache):
    one_version()
    reports, engine = [], open_engine(bundle, "trt")
    segment = sorted(bundle.segments)[0]
    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with reporting_to(reports.append):
            thread = threading.Thread(target=engine.prepare, args=([segment], [1]))
            thread.start()
            until(lambda: reports)
            assert reports[0].state == "waiting"
            fcntl.flock(lock, fcntl.LOCK_UN)
            thread.join(100)
    assert reports[-2].state == "built"
    engine.close()


def test_waiting_for_another_process_can_be_stopped(one_version, bundle, cache):
    one_version()
    reports, messages, engine = [], [], open_engine(bundle, "trt")

    def prepare():
        with reporting_to(reports.append), pytest.raises(EngineFailed) as stopped:
            engine.prepare()
        messages.append(str(stopped.value))

    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=prepare)
        thread.start()
        until(lambda: reports)
        engine.close()
        thread.join(100)
    assert "stopped while another process was at it" in messages[0]


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
    messages = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, messages
    assert "plan 1 of 4, body-01-01 for 1 face: building, as it was never built" in messages
    assert "plan 1 of 4, body-01-01 for 1 face: built after" in messages
    assert messages.splitlines()[-1] == "edge-fiqa score: stopped"
    assert "Traceback" not in messages
    assert half_written(cache) == []
    assert not [child for child in children_now if child.is_running()]
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
