"""A gateway whose engine builds: everything before it is ready, and nobody loses patience meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import threading

import httpx2
import pytest

from edge_fiqa import Scorer
from edge_fiqa.engines.build_progress import BuildProgress, reporting_to
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue import worker
from edge_fiqa.gateway.queue.schedule import Speed
from edge_fiqa.gateway.queue.worker import GrantedDepth
from edge_fiqa.gateway.service import app
from edge_fiqa.gateway.service.app import Gateway
from edge_fiqa.gateway.service.build_watch import PATIENCE_S, BuildWatch
from edge_fiqa.gateway.service.live_view import LiveView
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.gateway.people import Collected, FindSquares, Script, configured, open_script
from tests.ports import port_to_keep
from tests.waiting import until

PLAN = BuildProgress(number=2, count=9, segment="body-01-03", batch=4, share=0.25)


@pytest.fixture
def orin(engine_tests, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    fakes, api = engine_tests.fakes, engine_tests.extract.load("10.3")
    return fakes.install(monkeypatch, fakes.World(integrated=True), api)


@pytest.fixture
def service_manager(tmp_path, monkeypatch):
    """heard() is what systemd was told since the last call."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield listener
    listener.close()


def heard(listener):
    listener.setblocking(False)
    said = []
    while True:
        try:
            said.append(listener.recv(1000).decode())
        except BlockingIOError:
            return said


# ---- what is said of a build


def test_systemd_is_told_which_plan_and_to_be_patient(service_manager):
    times, lines = iter((100.0, 100.5, 101.5, 102.0, 103.0)), []
    watch = BuildWatch(lines.append, clock=lambda: next(times))
    for _ in range(3):
        watch(PLAN)
    status = "STATUS=building plan 2 of 9, body-01-03 for 4 faces, 25%"
    assert heard(service_manager) == [f"{status}\nEXTEND_TIMEOUT_USEC=600000000"] * 2
    watch(None)
    assert heard(service_manager) == ["STATUS=plans are built"]
    watch(None)  # a series of none
    assert heard(service_manager) == []
    assert lines == [PLAN] * 3 + [None] * 2


def test_patience_ends_with_the_builders_signs_of_life():
    now = 100.0
    watch = BuildWatch(lambda event: None, clock=lambda: now)
    assert (watch.now, watch.patient()) == (None, False)
    watch(PLAN)
    now += PATIENCE_S - 1
    assert watch.patient()
    now += 2
    assert not watch.patient()
    assert watch.now is not None
    watch(None)
    assert (watch.now, watch.patient()) == (None, False)


# ---- a gateway on it


@pytest.fixture
def gateway_on(orin, bundle, monkeypatch, engine_tests, tmp_path):
    """gateway_on(policy, batches, gains) -> a gateway on the made-up GPU, and what it reported."""
    made = []

    def make(policy, batches=(1, 2, 4), gains=True):
        chosen = engine_tests.with_options(bundle, tmp_path, batches=batches)
        monkeypatch.setattr(Speed, "batches", property(lambda self: gains))
        config = configured("door", schedule={"policy": policy}, best_shot={"gate": 40})
        reports = []
        view = LiveView("tiny", "trt", BuildWatch(reports.append))
        with reporting_to(view.building):
            scorer = Scorer.open(chosen, backend="trt", gate=40)
            gateway = Gateway(
                config,
                [Collected()],
                [scorer],
                open_script({"door": Script([])}),
                lambda config: FindSquares(),
                view,
            )
        made.append(gateway)
        gateway.start()
        return gateway, reports

    yield make
    for gateway in made:
        gateway.stop()


@pytest.mark.parametrize("policy", ["full", "convergence", "gate"])
@pytest.mark.parametrize("gains", [True, False])
def test_nothing_is_built_once_it_is_ready(gateway_on, orin, policy, gains):
    """Also with a recipe whose largest batch is smaller than a crowd."""
    gateway, reports = gateway_on(policy, gains=gains)
    assert orin.events.count("build") > 0
    assert reports[-1] is None
    orin.events.clear()
    first = gateway.workers[0]
    faces = [FaceCrop(str(n), "test", crop) for n, crop in enumerate(synthetic_faces(worker.BATCH))]
    for count in range(1, len(faces) + 1) if gains else [1]:
        for exit in gateway.scoring.exits:
            first.scores.score(faces[:count], [GrantedDepth(exit), *first.policies])
            if policy == "gate":  # a face that is audited runs alone, to the granted depth
                first.scores.scorer.score(faces[:1], [GrantedDepth(exit)])
    assert "build" not in orin.events


def test_the_number_of_plans_is_known_before_the_first(gateway_on):
    _, reports = gateway_on("gate", gains=False)
    series = [[]]
    for event in reports:
        series[-1].append(event) if event is not None else series.append([])
    first = series[0]
    assert {event.count for event in first} == {len({event.number for event in first})}
    assert len({event.number for event in first}) > 4


def test_a_worker_that_builds_for_a_new_gate_does_not_hang(gateway_on, monkeypatch):
    gateway, _ = gateway_on("full", gains=False)
    monkeypatch.setattr(app, "SILENT_S", 1.0)
    done = threading.Event()
    gateway.workers[0].renew = done.wait  # as long as building takes
    until(lambda: gateway.silent_thread() == "worker 0")
    gateway.view.building(PLAN)
    assert gateway.silent_thread() is None
    assert gateway.view.ready() == "building plan 2 of 9, body-01-03 for 4 faces, 25%"
    gateway.view.building(None)
    assert (
        gateway.silent_thread() is None
    )  # it warms what was built, and its last sign of life is old
    assert gateway.view.ready() is None
    until(lambda: gateway.silent_thread() == "worker 0")
    done.set()
    until(lambda: gateway.silent_thread() is None)


# ---- the service


@pytest.fixture
def free_port():
    return port_to_keep()


@pytest.fixture
def service(engine_tests, bundle, tmp_path, free_port):
    """service() starts the command in a process with the same fakes, whose builds take time."""
    text = engine_tests.SITE.format(
        fakes=str(engine_tests.HERE / "fakes/__init__.py"),
        extract=str(engine_tests.HERE / "trt_api/extract.py"),
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(text, encoding="utf-8")
    chosen = engine_tests.with_options(bundle, tmp_path, batches=(1,))
    (tmp_path / "gateway.yaml").write_text(
        f"model: {chosen.folder}\nbackend: trt\nhttp: {{port: {free_port}}}\n"
        "schedule: {policy: convergence}\n",
        encoding="utf-8",
    )
    running = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_fiqa", "gateway", str(tmp_path / "gateway.yaml")],
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{engine_tests.HERE.parents[1]}",
                "EDGE_FIQA_CACHE": str(tmp_path / "cache"),
                "FAKE_STEP_S": "0.1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_the_service_says_what_it_builds_before_it_is_ready(service, service_manager, free_port):
    process, said, port = service(), [], free_port
    while not said or not said[-1].startswith("READY=1"):
        said.append(service_manager.recv(1000).decode())
        if len(said) == 1:
            asked = httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=60)
            assert asked.status_code == 503
            assert "building plan" in asked.text
    assert httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=60).status_code == 200
    assert said[0].startswith("STATUS=building plan 1 of ")
    assert all("EXTEND_TIMEOUT_USEC=" in message for message in said if "building" in message)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    assert "INFO plan 1 of " in process.stderr.read()


@pytest.mark.slow
def test_a_service_stopped_while_it_builds_ends_well(service, service_manager, tmp_path):
    process = service()
    until(lambda: list((tmp_path / "cache").rglob("*.plan.json")), 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    log = process.stderr.read()
    assert "stopped before it was ready; plans that were built are kept" in log
    assert "Traceback" not in log
    assert not any("READY=1" in message for message in heard(service_manager))
    assert not list((tmp_path / "cache").rglob(".*.plan*"))
