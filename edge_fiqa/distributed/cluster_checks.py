"""What would make Ray wait without a word, or answer with a traceback, said in one line."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_fiqa import __version__
from edge_fiqa.errors import ConfigError, counted, one_line

CONNECT_S = 10.0
"""Seconds that the head of a cluster has to take a connection; Ray itself tries for nine minutes."""
PORT = 6379
"""Of the head, unless the address has one."""


def check_address(address: str) -> None:
    """Raises ConfigError where nothing takes connections there. auto: the cluster of this machine."""
    target = _cluster_of_this_machine() if address == "auto" else address
    if not target:
        return  # Ray looks for one, and says at once that there is none
    if target.startswith("ray://"):
        raise ConfigError(
            f"--address {target}: Ray's client is not supported; run this command on a machine of the "
            "cluster, with --address auto (and without RAY_ADDRESS) or HOST:6379"
        )
    host, _, port = target.rpartition(":") if ":" in target else (target, "", str(PORT))
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"--address {address}: write auto or HOST:PORT, such as 10.0.0.1:{PORT}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as exc:
        why = exc.strerror or f"no answer within {CONNECT_S:.0f} s"
        raise ConfigError(
            f"--address {address}: nothing answers at {target}: {why}; start the cluster with "
            "ray start --head, or mend the address"
        ) from exc


def _cluster_of_this_machine() -> str:
    """As `ray start` wrote it down; "" where it did not."""
    if address := os.environ.get("RAY_ADDRESS", ""):
        return address
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
    try:
        return (folder / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def check_room(
    nodes: Sequence[Mapping[str, Any]], cpus: float, gpus: float, this_machine: bool = False
) -> None:
    """Raise ConfigError where no node is large enough for a worker. nodes: of `ray.nodes()`.

    this_machine: Ray was started here, and there is no cluster.
    """
    rooms = _rooms(nodes)
    if any(room.get("CPU", 0) >= cpus and room.get("GPU", 0) >= gpus for room in rooms):
        return
    there = ", ".join(
        sorted({f"{room.get('CPU', 0):g} and {room.get('GPU', 0):g}" for room in rooms})
    )
    if this_machine:
        raise ConfigError(
            f"this machine has no room for a worker of {counted(gpus, 'GPU', form='g')} (Ray counts "
            f"{max((room.get('GPU', 0) for room in rooms), default=0):g}); give fewer --gpus, or "
            "--gpus 0 with --jobs 1 where there is a GPU that Ray does not count"
        )
    raise ConfigError(
        f"no node of the cluster has room for a worker of {counted(cpus, 'processor', form='g')} and "
        f"{counted(gpus, 'GPU', form='g')} (they have {there or 'none'}); give fewer --threads or "
        "--gpus, or add a larger node"
    )


def workers_with_room(nodes: Sequence[Mapping[str, Any]], cpus: float, gpus: float) -> int:
    """How many workers fit the nodes at once, at least 1. nodes: of `ray.nodes()`."""
    return max(1, sum(_workers_of(room, cpus, gpus) for room in _rooms(nodes)))


def _workers_of(room: Mapping[str, float], cpus: float, gpus: float) -> int:
    needed = {"CPU": cpus, "GPU": gpus}
    return min(
        int(room.get(name, 0) / of_each + 1e-9) for name, of_each in needed.items() if of_each
    )


def _rooms(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    return [node.get("Resources", {}) for node in nodes if node.get("Alive")]


def why_ray_gave_up(exc: BaseException) -> ConfigError:
    """What is wrong with a worker, from an error of Ray with the traceback of another machine."""
    if missing := re.search(r"No module named '([\w.]+)'", str(exc)):
        package = missing[1].partition(".")[0]
        return ConfigError(
            f"a machine of the cluster has no {package}: install edge-fiqa[ray] {__version__} there, "
            "for the Python that Ray runs with"
        )
    return ConfigError(f"Ray gave up: {one_line(exc)[:500]}")
