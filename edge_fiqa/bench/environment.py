"""The machine and the versions that a result was measured with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_fiqa.bench.conditions import read_conditions
from edge_fiqa.engines.machine import read_machine
from edge_fiqa.engines.processor import read_processor

PACKAGES = ("edge-fiqa", "openvino", "onnxruntime", "torch", "tensorrt", "numpy")


def environment(root: Path = Path("/")) -> dict[str, Any]:
    """CPU, board, governor, power mode, clocks, temperature and load as the run begins, and the
    versions that compute; None where unknown."""
    processor = read_processor(root)
    machine = read_machine(root)
    policy = root / "sys/devices/system/cpu/cpu0/cpufreq"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": processor.name,
        "board": machine.model,
        "instructions": list(processor.instructions),
        "cores": cores,
        "cores_off": processor.cores_off,
        "governor": _read(policy / "scaling_governor"),
        "max_khz": _read(policy / "scaling_max_freq"),
        # Of a Jetson, as plans know it; else the firmware's profile.
        "power_mode": machine.power_mode or _read(root / "sys/firmware/acpi/platform_profile"),
        **read_conditions(root).described(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip("\0\n ") or None
    except OSError:
        return None
