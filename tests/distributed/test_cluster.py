"""How Ray is started and ended, with a stand-in for Ray."""

import signal
import types

import pytest

from edge_fiqa.cli import Terminated, main
from edge_fiqa.distributed.cluster import RayRun, connected
from edge_fiqa.errors import ConfigError
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.distributed.sets import encoded, write_folder


@pytest.fixture
def ray(monkeypatch):
    """Its `init` does what `start` does; `called` is how. There is a node of 2 processors and a GPU."""

    class Ray(types.SimpleNamespace):
        def init(self, **arguments):
            signal.signal(signal.SIGTERM, ray_handler)
            self.called.append(arguments)
            self.start()

        def shutdown(self):
            self.shutdowns += 1

        def nodes(self):
            return [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}]

    def ray_handler(number, _):
        raise SystemExit(number)

    stand_in = Ray(called=[], shutdowns=0, start=lambda: None)
    monkeypatch.setattr("edge_fiqa.distributed.cluster._ray", lambda: stand_in)
    before = signal.getsignal(signal.SIGTERM)
    yield stand_in
    signal.signal(signal.SIGTERM, before)


def sigterm():
    """What a signal runs. A real one may end the process that runs the tests."""
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)


ON_THIS_MACHINE = RayRun(address=None, workers=2, cpus=1)


def test_sigterm_while_ray_starts_ends_the_command_with_143(ray, bundle, tmp_path, capsys):
    ray.start = sigterm
    folder = write_folder(tmp_path / "faces", encoded(synthetic_faces(1, seed=1)))
    flags = ["--bundle", str(bundle.folder), "--backend", "ov", "--on", "ray"]
    assert main(["score", str(folder), *flags, "-o", str(tmp_path / "out")]) == 143
    assert "stopped; 0 faces written" in capsys.readouterr().err
    assert ray.shutdowns == 1


def test_sigterm_while_ray_starts_is_what_it_was_before(ray):
    def handler(*_):
        raise Terminated

    ray.start = sigterm
    signal.signal(signal.SIGTERM, handler)
    with pytest.raises(Terminated), connected(ON_THIS_MACHINE):
        pytest.fail("Ray did not start")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert ray.shutdowns == 1


@pytest.mark.parametrize(("raised", "expected"), [(OSError, ConfigError), (SystemExit, SystemExit)])
def test_the_handler_is_restored_where_ray_does_not_start(ray, raised, expected):
    def start():
        raise raised(1)

    before = signal.getsignal(signal.SIGTERM)
    ray.start = start
    with pytest.raises(expected), connected(ON_THIS_MACHINE):
        pytest.fail("Ray did not start")
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_handler_is_restored_where_ray_starts(ray):
    before = signal.getsignal(signal.SIGTERM)
    with connected(ON_THIS_MACHINE):
        assert signal.getsignal(signal.SIGTERM) == before
    assert ray.shutdowns == 1


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
    assert ray.shutdowns == 1
