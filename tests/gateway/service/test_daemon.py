"""The command as a service runs it: ready, reloaded, watched, stopped; every track its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import cv2
import httpx2
import numpy as np
import pytest

from edge_fiqa.gateway.service.notify import notify, watchdog_s
from tests.ports import port_to_keep
from tests.waiting import until

PASSWORD = "s3cret-word"


@pytest.fixture
def run(tmp_path):
    """run(text) starts the gateway; said() is what systemd hears."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(300)  # loading the libraries beside other work
    running = []

    def start(text):
        (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_fiqa", "gateway", str(tmp_path / "gateway.yaml")],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "400000",
                "CAM_PASSWORD": PASSWORD,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    def said(wanted):
        while True:
            message = listener.recv(1000).decode()
            if message.startswith(wanted):
                return message

    start.said = said
    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stderr.close()
    listener.close()


@pytest.mark.slow
def test_the_life_of_a_service(run, tmp_path):
    process = run("http: {port: 0}\n")
    run.said("READY=1")
    run.said("WATCHDOG=1")
    (tmp_path / "gateway.yaml").write_text(
        "http: {port: 0}\nbest_shot: {gate: 400}\n", encoding="utf-8"
    )
    process.send_signal(signal.SIGHUP)
    run.said("RELOADING=1\nMONOTONIC_USEC=")
    run.said("READY=1")
    (tmp_path / "gateway.yaml").write_text(
        "http: {port: 0}\nworkers: 2\nbest_shot: {gate: 40}\n", encoding="utf-8"
    )
    process.send_signal(signal.SIGHUP)
    run.said("RELOADING=1")
    run.said("READY=1")
    process.send_signal(signal.SIGTERM)
    run.said("STOPPING=1")
    assert process.wait(100) == 0
    log = process.stderr.read()
    assert "stays as it was" in log
    assert "line 2, best_shot.gate" in log
    assert "workers: changed, but only a restart takes it up" in log
    assert "Traceback" not in log


def test_every_track_ends_on_sigterm_and_no_secret_is_said(run, tmp_path, shared):
    """A face that crosses the picture, beside a camera that cannot be reached."""
    _film(tmp_path / "a.avi")
    process = run(
        f"detector: {shared}/data/models/yunet_n_640_640.onnx\n"
        "cameras:\n"
        f"  a: {tmp_path}/a.avi\n"
        "  b: rtsp://viewer:${CAM_PASSWORD}@127.0.0.1:9/x\n"
        f"file: {{path: {tmp_path}/events.ndjson}}\n"
    )
    run.said("READY=1")
    events = tmp_path / "events.ndjson"
    until(lambda: events.exists() and events.read_text(encoding="utf-8"))
    for _ in range(3):
        run.said("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    written = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert written[0]["type"] == "new"
    assert (written[-1]["type"], written[-1]["reason"]) == ("end", "shutdown")
    assert len({event["track"] for event in written}) == 1
    log = process.stderr.read()
    assert "camera b is failed: its host answers, and nothing listens at port 9" in log
    assert PASSWORD not in log + events.read_text(encoding="utf-8")


def _film(path):
    """A face that crosses the picture in 15 s."""
    portrait = cv2.resize(cv2.imread(str(_portrait())), (256, 300))
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 360))
    for number in range(150):
        frame = np.full((360, 640, 3), 128, np.uint8)
        frame[30:330, 2 * number : 2 * number + 256] = portrait
        video.write(frame)
    video.release()


def _events(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_killed_gateway_ends_its_tracks_at_the_next_start(run, tmp_path, shared):
    _film(tmp_path / "a.avi")
    events = tmp_path / "events.ndjson"
    config = (
        f"detector: {shared}/data/models/yunet_n_640_640.onnx\n"
        f"cameras: {{a: {tmp_path}/a.avi}}\nfile: {{path: {events}}}\n"
    )
    first = run(config)
    run.said("READY=1")
    until(lambda: _events(events))
    first.kill()
    first.wait(100)
    (track,) = {event["track"] for event in _events(events)}
    before = len(_events(events))
    second = run(config)
    run.said("READY=1")
    until(lambda: len(_events(events)) > before)
    second.send_signal(signal.SIGTERM)
    assert second.wait(100) == 0
    ended = [event for event in _events(events) if event["track"] == track]
    assert [event["sequence"] for event in ended] == list(range(len(ended)))
    assert [event["type"] for event in ended].count("end") == 1
    assert (ended[-1]["type"], ended[-1]["reason"]) == ("end", "shutdown")
    assert ended[-1]["record"] == ended[-2]["record"]
    assert "1 track was open when the gateway was killed" in second.stderr.read()


@pytest.mark.slow
def test_sigterm_waits_for_no_picture(run):
    """Eight clients push pictures that take seconds to decode; more come while it stops."""
    port = port_to_keep()
    process = run(f"http: {{port: {port}, pushes_per_s: 1000}}\n")
    run.said("READY=1")
    slow = b"P6\n#" + b"a" * 7_900_000 + b"\n10 10\n255\n" + b"0" * 300
    answers = []

    def push():
        try:
            while True:
                answer = httpx2.post(
                    f"http://127.0.0.1:{port}/api/faces", content=slow, timeout=100
                )
                answers.append(answer.status_code)
        except httpx2.TransportError:
            pass

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: 503 in answers)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    for thread in threads:
        thread.join(100)
    log = process.stderr.read()
    assert "Traceback" not in log
    assert "ERROR" not in log


STOPPED_WHILE_LOADING = """
import signal, sys
from functools import partial
from pathlib import Path
from edge_fiqa.errors import BackendMissing
from edge_fiqa.gateway.service import daemon
def stopped_or_broken(*arguments, stop, **more):
    try:
        if stop:
            signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        pass
    raise BackendMissing("backend 'ov': initialization failed")
daemon.Gateway = partial(stopped_or_broken, stop=True)
print("status", daemon.serve_until_stopped(Path(sys.argv[1]), {signal.SIGTERM}))
daemon.Gateway = partial(stopped_or_broken, stop=False)
try:
    daemon.serve_until_stopped(Path(sys.argv[1]), {signal.SIGTERM})
except BackendMissing as exc:
    print(exc)
"""


def test_a_stop_while_a_library_loads_is_a_stop(tmp_path):
    """OpenVINO's import makes an ImportError of it, which looked like a missing library.

    In a process of its own: a test's signal must not be able to end the one that runs the tests.
    """
    (tmp_path / "gateway.yaml").write_text("http: {port: 0}\n", encoding="utf-8")
    command = [sys.executable, "-X", "faulthandler", "-c", STOPPED_WHILE_LOADING]
    done = subprocess.run([*command, tmp_path / "gateway.yaml"], capture_output=True, text=True)
    assert done.stdout == "status 0\nbackend 'ov': initialization failed\n", done.stderr
    assert done.returncode == 0, done.stderr


def _portrait():
    import matplotlib

    return f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg"


def test_check(tmp_path):
    def check(text):
        (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
        command = ["-m", "edge_fiqa", "gateway", "--check", str(tmp_path / "gateway.yaml")]
        return subprocess.run([sys.executable, *command], capture_output=True, text=True)

    fine = check("http: {port: 0}\n")
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "is fine: 0 cameras, model nano, outputs http" in fine.stdout
    bad = check("http: {prot: 0}\nmodle: small\n")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "line 1, http.prot: unknown key; did you mean port?" in bad.stderr
    assert "line 2, modle: unknown key; did you mean model?" in bad.stderr


def test_a_missing_extra_is_one_line():
    code = (
        "import sys; sys.modules['trackers'] = None; from edge_fiqa.cli import main; "
        "sys.exit(main(['gateway', 'x.yaml']))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 2
    assert "pip install 'edge-fiqa[gateway]'" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_without_a_service_manager(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert not notify("READY=1")
    assert watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert watchdog_s() == 3.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_s() is None
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    assert not notify("READY=1")


def test_an_abstract_socket(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0edge-fiqa-{os.getpid()}")
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@edge-fiqa-{os.getpid()}")
        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"
