"""What would make Ray wait for ever is said at once."""

import socket

import pytest

from edge_fiqa import __version__
from edge_fiqa.distributed.cluster_checks import (
    check_address,
    check_room,
    why_ray_gave_up,
    workers_with_room,
)
from edge_fiqa.errors import ConfigError


@pytest.fixture
def dead():
    """An address where nothing answers: its port is taken, and nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_dead_address_is_said(dead):
    with pytest.raises(
        ConfigError, match=f"--address {dead}: nothing answers at {dead}: .*refused"
    ):
        check_address(dead)


def test_a_cluster_that_is_gone_is_said(dead, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    check_address("auto")  # Ray says that itself
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(f"{dead}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"--address auto: nothing answers at {dead}"):
        check_address("auto")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="ray://head:10001: Ray's client is not supported"):
        check_address("auto")


def test_an_address_that_answers_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "Ray's client is not supported"),
        ("host:port", "write auto or HOST:PORT"),
        ("host:70000", "write auto or HOST:PORT"),
    ],
)
def test_an_address_of_another_kind_is_refused(address, said):
    with pytest.raises(ConfigError, match=said):
        check_address(address)


NODES = [
    {"Alive": True, "Resources": {"CPU": 4.0}},
    {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(("cpus", "gpus"), [(4, 0), (2, 1), (0.5, 0.5)])
def test_a_worker_that_fits_a_node_has_room(cpus, gpus):
    check_room(NODES, cpus, gpus)


@pytest.mark.parametrize(
    ("cpus", "gpus", "worker"),
    [
        (5, 0, "5 processors and 0 GPUs"),
        (4, 1, "4 processors and 1 GPU"),
        (1, 2, "1 processor and 2 GPUs"),
    ],
)
def test_a_worker_that_fits_no_node_is_refused(cpus, gpus, worker):
    said = rf"room for a worker of {worker} \(they have 2 and 1, 4 and 0\)"
    with pytest.raises(ConfigError, match=said):
        check_room(NODES, cpus, gpus)


def test_a_gpu_that_this_machine_does_not_have_is_said():
    said = r"this machine has no room for a worker of 1 GPU \(Ray counts 0\); give fewer --gpus"
    with pytest.raises(ConfigError, match=said):
        check_room(NODES[:1], 1, 1, this_machine=True)
    check_room(NODES[1:2], 1, 1, this_machine=True)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "workers"),
    [
        ([(8, 0)], 1, 0, 8),
        ([(8, 0)], 3, 0, 2),
        ([(8, 1)], 1, 1, 1),
        ([(8, 2)], 1, 1, 2),
        ([(8, 2)], 1, 0.5, 4),
        ([(8, 1)], 1, 0.1, 8),
        ([(16, 1)], 1, 0.1, 10),
        ([(2, 8)], 1, 1, 2),
        ([(4, 3), (4, 3)], 1, 2, 2),  # no worker has GPUs of two nodes
        ([(3, 0), (3, 0)], 2, 0, 2),
        ([(8, 0)], 1, 1, 1),  # never none
        ([], 1, 0, 1),
    ],
)
def test_as_many_workers_as_processors_and_gpus_have_room_for(nodes, cpus, gpus, workers):
    resources = [{"CPU": float(cpu), **({"GPU": float(gpu)} if gpu else {})} for cpu, gpu in nodes]
    alive = [{"Alive": True, "Resources": each} for each in resources]
    assert workers_with_room([*alive, NODES[2]], cpus, gpus) == workers  # NODES[2] is dead


def test_a_machine_without_the_package_is_said_in_a_line():
    text = "ray::_settings() (pid=7, ip=10.0.0.2)\nRuntimeError: failed to import\n  File ...\n"
    error = why_ray_gave_up(RuntimeError(f"{text}ModuleNotFoundError: No module named 'edge_fiqa'"))
    assert str(error) == (
        f"a machine of the cluster has no edge_fiqa: install edge-fiqa[ray] {__version__} there, for "
        "the Python that Ray runs with"
    )
    error = why_ray_gave_up(RuntimeError(f"{text}ModuleNotFoundError: No module named 'cv2.dnn'"))
    assert str(error).startswith("a machine of the cluster has no cv2: install edge-fiqa")
    assert str(why_ray_gave_up(ValueError("one\ntwo"))) == "Ray gave up: one two"
