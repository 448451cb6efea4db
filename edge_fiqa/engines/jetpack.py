"""Which JetPack a Jetson Linux release belongs to, what it holds, and what its packages are called.

Sources: NVIDIA's JetPack archive pages (7.0: Jetson Linux 38.2, 7.1: 38.4; CUDA 13.0), its JetPack 6.1
notes (CUDA 12.6, TensorRT 10.3), jetson_stats' table of releases (6.2.1: 36.4.4, 6.2.2: 36.5.0,
7.2: 39.0 early and 39.2), and for 7.2 a report from an Orin (39.2.0: CUDA 13.2.1, TensorRT 10.16.2;
NVIDIA-ISAAC-ROS/isaac-ros-cli#22).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TENSORRT_PACKAGE = "python3-libnvinfer"
"""TensorRT for the system's Python, under the same name on each of them."""
DRIVER_PACKAGE = "nvidia-l4t-cuda"
"""Holds libcuda.so on 36 and 38; whether it still does on 39 has not been seen."""


@dataclass(frozen=True)
class JetPack:
    """l4t: the first Jetson Linux release that it belongs to. python: the system's."""

    name: str
    l4t: tuple[int, ...]
    cuda: str
    tensorrt: str
    python: str

    @property
    def toolkit(self) -> str:
        """The package with nvcc, which compiles PyCUDA."""
        return f"cuda-toolkit-{self.cuda.replace('.', '-')}"


JETPACKS = (
    JetPack("6.1", (36, 4, 0), "12.6", "10.3", "3.10"),
    JetPack("6.2", (36, 4, 3), "12.6", "10.3", "3.10"),
    JetPack("6.2.1", (36, 4, 4), "12.6", "10.3", "3.10"),
    JetPack("6.2.2", (36, 5, 0), "12.6", "10.3", "3.10"),
    JetPack("7.0", (38, 2, 0), "13.0", "10.13", "3.12"),
    JetPack("7.1", (38, 4, 0), "13.0", "10.13", "3.12"),
    JetPack("7.2", (39, 0, 0), "13.2", "10.16", "3.12"),
)
OLDEST = JETPACKS[0]


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack of a release such as "36.4.3". None for one that is not known, older or newer."""
    release = numbers(l4t)
    for jetpack in reversed(JETPACKS):
        if release >= jetpack.l4t:
            return jetpack if release[0] == jetpack.l4t[0] else None
    return None


def too_old(l4t: str) -> bool:
    """Whether this release is of the time before TensorRT 10.3."""
    return numbers(l4t) < OLDEST.l4t


def numbers(version: str) -> tuple[int, ...]:
    """ "36.4" -> (36, 4, 0): three numbers at least, as releases have."""
    stated = tuple(int(number) for number in re.findall(r"\d+", version))
    return (*stated, 0, 0, 0)[: max(3, len(stated))]
