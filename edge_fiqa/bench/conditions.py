"""Clocks and temperature of the machine while it is measured; None where it does not say."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_fiqa.engines.machine import read_machine

SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""hwmon's names of chips that measure the processor, where no thermal zone does."""


@dataclass(frozen=True)
class Conditions:
    """cpu_mhz: mean of the cores now. gpu_mhz: now. temperature_c: of the hottest zone or sensor."""

    cpu_mhz: int | None
    gpu_mhz: int | None
    temperature_c: float | None

    def described(self) -> dict[str, float | None]:
        return asdict(self)


def read_conditions(root: Path = Path("/")) -> Conditions:
    """From cpufreq, devfreq and the thermal zones below `root`; nothing needs privileges."""
    gpu = read_machine(root, nvpmodel="").gpu_mhz
    return Conditions(_cpu_mhz(root), None if gpu is None else gpu[0], _hottest(root))


def _cpu_mhz(root: Path) -> int | None:
    folder = root / "sys/devices/system/cpu"
    khz = [_number(path) for path in folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    mhz = [value / 1000 for value in khz if value is not None]
    if not mhz:  # a virtual machine
        mhz = [float(text) for text in re.findall(r"^cpu MHz\s*: ([\d.]+)", _text(root), re.M)]
    return round(sum(mhz) / len(mhz)) if mhz else None


def _hottest(root: Path) -> float | None:
    files = list(root.glob("sys/class/thermal/thermal_zone*/temp"))
    for chip in root.glob("sys/class/hwmon/hwmon*"):
        if (
            not files
            and (chip / "name").exists()
            and (chip / "name").read_text().strip() in SENSORS
        ):
            files += chip.glob("temp*_input")
    millidegrees = [value for file in files if (value := _number(file)) is not None and value > 0]
    return round(max(millidegrees) / 1000, 1) if millidegrees else None


def _text(root: Path) -> str:
    try:
        return (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    """A zone whose device sleeps cannot be read: it says so with an error."""
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
