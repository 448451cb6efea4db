"""How Ray is started and ended, with a stand-in for Ray."""

import os
import signal
import subprocess
import sys
import threading
import types

import pytest

from edge_fiqa.distributed.cluster import STARTER, RayRun, connected
from edge_fiqa.errors import ConfigError
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.distributed.sets import encoded, write_folder
from tests.waiting import until


class RayStandIn(types.SimpleNamespace):
    """Its `init` does what `start` does; `called` is how. There is a node of 2 processors and a GPU."""

    def init(self, **arguments):
        if threading.current_thread() is threading.main_thread():  # as Ray does
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.called.append(arguments)
        self.start()
        self.initialised += 1

    def shutdown(self):
        self.shutdowns.append(self.initialised)

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}]


def stand_in():
    return RayStandIn(called=[], initialised=0, shutdowns=[], start=lambda: None)


@pytest.fixture
def ray(monkeypatch):
    instead = stand_in()
    monkeypatch.setattr("edge_fiqa.distributed.cluster._ray", lambda: instead)
    return instead


ON_THIS_MACHINE = RayRun(address=None, workers=2, cpus=1)

STOPPED = """
import os, signal, sys
import edge_fiqa.distributed.cluster as cluster
from edge_fiqa.cli import main
from tests.distributed.test_cluster import stand_in
from tests.waiting import until
ray, heard, wait = stand_in(), [], cluster.wait
def wait_noted(futures):
    heard.append(ray.initialised)
    wait(futures)
def start():
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    until(lambda: heard)
ray.start, cluster.wait, cluster._ray = start, wait_noted, lambda: ray
print(main(sys.argv[2:]), heard, ray.shutdowns)
"""


@pytest.mark.parametrize(("sent", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_while_ray_starts_is_heard_at_once_and_ends_what_has_started(
    bundle, tmp_path, sent, status
):
    folder = write_folder(tmp_path / "faces", encoded(synthetic_faces(1, seed=1)))
    flags = ["--bundle", str(bundle.folder), "--backend", "ov", "--on", "ray"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, sent, "score", folder, *flags, "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout == f"{status} [0] [1]\n", done.stderr
    assert "stopped; 0 faces written" in done.stderr


@pytest.mark.parametrize(("raised", "expected"), [(OSError, ConfigError), (SystemExit, SystemExit)])
def test_what_keeps_ray_from_starting_is_raised(ray, raised, expected):
    def start():
        raise raised(1)

    ray.start = start
    with pytest.raises(expected), connected(ON_THIS_MACHINE):
        pytest.fail("Ray did not start")


def test_ray_gets_no_hold_of_sigterm_and_ends_with_the_block(ray):
    before = signal.getsignal(signal.SIGTERM)
    with connected(ON_THIS_MACHINE):
        assert signal.getsignal(signal.SIGTERM) == before
        assert STARTER in [thread.name for thread in threading.enumerate()]
    assert ray.shutdowns == [1]
    until(lambda: STARTER not in [thread.name for thread in threading.enumerate()])


def test_ray_counts_the_gpus_itself(ray):
    with connected(RayRun(address=None, workers=2, cpus=1, gpus=1)):
        pass
    [arguments] = ray.called
    assert arguments["num_cpus"] == 2
    assert "num_gpus" not in arguments


def test_more_gpus_than_this_machine_has_are_refused(ray):
    run = RayRun(address=None, workers=1, cpus=1, gpus=2)
    with (
        pytest.raises(ConfigError, match=r"this machine.* 2 GPUs \(Ray counts 1\)"),
        connected(run),
    ):
        pytest.fail("there is no room")
    assert ray.shutdowns == [1]
