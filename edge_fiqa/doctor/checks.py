"""What a machine lacks for TensorRT, and the command that gets it. TensorRT itself is not touched."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from edge_fiqa.engines.jetpack import DRIVER_PACKAGE, JETPACKS, TENSORRT_PACKAGE, numbers, too_old
from edge_fiqa.engines.machine import Machine
from edge_fiqa.engines.processor import Processor
from edge_fiqa.engines.trt.graphs import driver_found

LEAST_MB = 1024
LEAST_TENSORRT = (10, 3)
NODES = ("dev/nvmap", "dev/nvhost-gpu", "dev/nvidia0")
"""Device files that a CUDA program opens: the first two on a Jetson, the last on a server."""


@dataclass(frozen=True)
class Check:
    """ok: None for advice. found: the state of the machine. remedy: a command, or what to do."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def checks(machine: Machine, root: Path = Path("/")) -> list[Check]:
    """In the order in which things go wrong."""
    return [
        _release(machine),
        _driver(machine),
        _tensorrt(machine),
        _pycuda(machine),
        _permissions(root),
        _power(machine),
        _clocks(machine),
        _memory(machine),
    ]


def processor_warnings(processor: Processor) -> list[str]:
    """What this processor, in the state it is in, is known to do to the engines."""
    warnings = []
    if processor.cores_off is not None:
        warnings.append(
            f"cores {processor.cores_off} are switched off, as low power modes do: ONNX Runtime may "
            "crash then (microsoft/onnxruntime#24092), and it builds bundles; build in a mode with "
            "all cores, or score with another engine"
        )
    if "sme" in processor.instructions:
        warnings.append(
            "OpenVINO is known to compute INT8 wrong on processors with SME (openvino#34673): trust "
            "an engine only if it agrees with the golden scores below"
        )
    return warnings


def _release(machine: Machine) -> Check:
    if machine.l4t is None:
        return Check("jetpack", None, "not a Jetson")
    name = f"Jetson Linux {machine.l4t}"
    if machine.jetpack is not None:
        return Check("jetpack", True, f"{machine.jetpack.name} ({name})")
    if too_old(machine.l4t):
        return Check(
            "jetpack", False, f"{name}, older than TensorRT 10.3", "flash JetPack 6.2 or later"
        )
    known = ", ".join(jetpack.name for jetpack in JETPACKS)
    return Check("jetpack", None, f"{name}, newer than what is known here ({known})")


def _driver(machine: Machine) -> Check:
    reason = driver_found()
    if reason is None:
        return Check("driver", True, "libcuda.so.1 answers")
    if machine.l4t is not None:
        remedy = f"sudo apt-get install {DRIVER_PACKAGE}; in a container: --runtime nvidia"
    else:
        remedy = "install NVIDIA's driver, r535 or later (r580 for CUDA 13)"
    return Check("driver", False, reason, remedy)


def _tensorrt(machine: Machine) -> Check:
    if (reason := _import_fails("tensorrt")) is None:
        version = str(sys.modules["tensorrt"].__version__)
        if numbers(version)[:2] >= LEAST_TENSORRT:
            return Check("tensorrt", True, version)
        remedy = (
            "pip install -U 'edge-fiqa[trt]'"
            if machine.l4t is None
            else "flash JetPack 6.2 or later"
        )
        return Check("tensorrt", False, f"{version} is older than 10.3", remedy)
    if machine.l4t is None:
        return Check("tensorrt", False, reason, "pip install 'edge-fiqa[trt]'")
    remedy = f"sudo apt-get install {TENSORRT_PACKAGE}"
    if _hides_system_packages():
        remedy += "; and make this environment anew: python3 -m venv --system-site-packages VENV"
    elif machine.jetpack is not None and _other_python(machine.jetpack.python):
        remedy += f"; it is for Python {machine.jetpack.python} alone, and this is another"
    return Check("tensorrt", False, reason, remedy)


def _pycuda(machine: Machine) -> Check:
    # Its driver module cannot be imported without libcuda: then it is the driver that is missing.
    if (reason := _import_fails("pycuda" if driver_found() else "pycuda.driver")) is None:
        return Check("pycuda", True, _version("pycuda"))
    if machine.l4t is None:
        return Check("pycuda", False, reason, "pip install 'edge-fiqa[trt]'")
    toolkit = "cuda-toolkit" if machine.jetpack is None else machine.jetpack.toolkit
    remedy = (
        "sudo engines/jetson/install.sh, in a checkout of edge_fiqa; it says what it lacks, at most "
        f"sudo apt-get install g++ python3-dev python3-venv {toolkit}"
    )
    return Check("pycuda", False, reason, remedy)


def _permissions(root: Path) -> Check:
    present = [root / node for node in NODES if (root / node).exists()]
    closed = [path for path in present if not os.access(path, os.R_OK | os.W_OK)]
    if closed and os.access(closed[0], os.R_OK):
        # cr--r----- root:video on some releases: being in the group is not enough.
        rule = f'KERNEL=="{closed[0].name}", GROUP="video", MODE="0660"'
        remedy = (
            f"echo '{rule}' | sudo tee /etc/udev/rules.d/99-edge-fiqa.rules, then restart; "
            "in a container the host's rule counts"
        )
        return Check("permissions", False, f"{closed[0]} may be read but not written", remedy)
    if closed:
        remedy = "sudo usermod -aG video,render $USER, then log in again"
        return Check("permissions", False, f"{closed[0]} may not be opened", remedy)
    return Check("permissions", True, ", ".join(map(str, present)) or "no device files to open")


def _power(machine: Machine) -> Check:
    if machine.l4t is None:
        return Check("power mode", None, "not a Jetson")
    if machine.power_mode is None:
        return Check("power mode", None, "unknown", "sudo nvpmodel -q")
    advice = "plans and timings belong to this mode; nvpmodel -p --verbose lists the others"
    return Check("power mode", None, machine.power_mode, advice)


def _clocks(machine: Machine) -> Check:
    if machine.gpu_mhz is None:
        return Check("clocks", None, "unknown")
    now, low, high = machine.gpu_mhz
    state = f"GPU at {now} MHz, {low} to {high}"
    return Check("clocks", None, state, "" if machine.clocks_fixed else "sudo jetson_clocks")


def _memory(machine: Machine) -> Check:
    if machine.available_mb is None:
        return Check("memory", None, "unknown")
    state = (
        f"{machine.available_mb} of {machine.total_mb} MiB available, {machine.swap_mb} MiB of swap"
    )
    if machine.available_mb >= LEAST_MB:
        return Check("memory", True, state)
    remedy = "stop the desktop (sudo systemctl isolate multi-user.target), or add swap"
    return Check("memory", False, state, remedy)


def _import_fails(name: str) -> str | None:
    """Why a module cannot be imported, or None. Importing TensorRT is safe without a driver."""
    try:
        import_module(name)
    except ImportError as exc:
        return str(exc)
    return None


def _other_python(wanted: str) -> bool:
    return numbers(wanted)[:2] != sys.version_info[:2]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "installed, without metadata"


def _hides_system_packages() -> bool:
    """Whether this Python is a virtual environment that cannot see JetPack's packages."""
    if sys.prefix == sys.base_prefix:
        return False
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return "include-system-site-packages = true" not in text.lower()
