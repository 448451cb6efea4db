"""Energy meters: how many joules the machine uses, and what a piece of work costs by them.

    ina238    Jetson Thor: watts of the board's input, through hwmon
    ina3221   other Jetsons: volts and amperes of the board's input, or of its parts
    nvml      NVIDIA cards: the driver's energy counter
    rapl      x86 packages: energy counters through powercap (root, or readable energy_uj)

A meter counts joules from an arbitrary start, of everything in its domain: the board, the card, the
package. Gross energy of a piece of work is what was counted while it ran. Net energy is gross less
the idle power, measured before, times the same duration.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from edge_fiqa.errors import BackendMissing

SAMPLE_S = 0.005  # between two readings of a power sensor
INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that hold all others, so that nothing is to be added to them."""
HWMON, POWERCAP = Path("/sys/class/hwmon"), Path("/sys/class/powercap")


class Meter(Protocol):
    @property
    def name(self) -> str: ...

    def joules(self) -> float:
        """Energy since some start; never falls."""
        ...

    def close(self) -> None: ...


class Rapl:
    """Energy counters of all CPU packages. Read it more often than they wrap (minutes at 100 W)."""

    def __init__(self, root: Path = POWERCAP) -> None:
        zones = sorted(root.glob("intel-rapl:*"))
        self._zones = [z for z in zones if z.name.count(":") == 1 and _label(z) != "psys"]
        if not self._zones:
            raise BackendMissing("RAPL: no package in powercap (a virtual machine, or no driver)")
        self._range = [int(_read(z / "max_energy_range_uj", "RAPL")) for z in self._zones]
        self._last = self._counters()
        self._joules = 0.0
        self.name = f"rapl ({', '.join(_label(z) for z in self._zones)})"

    def joules(self) -> float:
        counters = self._counters()
        for before, after, wrap in zip(self._last, counters, self._range, strict=True):
            self._joules += 1e-6 * (after - before if after >= before else after + wrap - before)
        self._last = counters
        return self._joules

    def close(self) -> None: ...

    def _counters(self) -> list[int]:
        return [int(_read(zone / "energy_uj", "RAPL")) for zone in self._zones]


class Sampled:
    """Joules from a power sensor in watts, read every few ms by a thread (trapezoids)."""

    def __init__(
        self,
        name: str,
        watts: Callable[[], float],
        sample_s: float = SAMPLE_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name, self._watts, self._clock = name, watts, clock
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._joules, self._last_s, self._last_watts = 0.0, clock(), watts()
        self._thread = threading.Thread(target=self._sample, args=(sample_s,), daemon=True)
        self._thread.start()

    def joules(self) -> float:
        with self._lock:
            now_s, watts = self._clock(), self._watts()
            self._joules += (now_s - self._last_s) * (watts + self._last_watts) / 2
            self._last_s, self._last_watts = now_s, watts
            return self._joules

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self, sample_s: float) -> None:
        while not self._stop.wait(sample_s):
            self.joules()


def ina238(root: Path = HWMON) -> Sampled:
    """The board power of a Thor: its input has a sensor of its own (rbonghi/jetson_stats#900).

    The INA3221 of that board only sees parts, which would be summed without the losses before them.
    """
    chips = [folder for folder in sorted(root.glob("hwmon*")) if _label(folder) == "ina238"]
    power = next(
        (chip / "power1_input" for chip in chips if (chip / "power1_input").exists()), None
    )
    if power is None:
        raise BackendMissing("INA238: no such sensor in hwmon (not a Thor)")
    return Sampled("ina238 (VIN)", lambda: 1e-6 * int(_read(power, "INA238")))  # microwatts


def ina3221(root: Path = HWMON) -> Sampled:
    """A Jetson's board power: its input rail where one is measured, else the sum of all rails."""
    rails = _ina3221_rails(root)
    if not rails:
        raise BackendMissing("INA3221: no such sensor in hwmon (not a Jetson)")
    input_rails: list[str] = [name for name in INPUT_RAILS if name in rails]
    chosen: list[str] = input_rails[:1] or sorted(rails)

    def watts() -> float:
        return sum(_watts(*rails[name]) for name in chosen)

    return Sampled(f"ina3221 ({', '.join(chosen)})", watts)


def _ina3221_rails(root: Path) -> dict[str, tuple[Path, Path]]:
    """Name of each rail -> its files of mV and of mA, without sums, and without channels that are
    not connected (`NC`, on an AGX Orin), whose readings mean nothing."""
    rails: dict[str, tuple[Path, Path]] = {}
    for chip in (folder for folder in sorted(root.glob("hwmon*")) if _label(folder) == "ina3221"):
        for label in sorted(chip.glob("in*_label")):
            number = label.name.removeprefix("in").removesuffix("_label")
            name = label.read_text(encoding="utf-8").strip()
            files = chip / f"in{number}_input", chip / f"curr{number}_input"
            if (
                "sum of" not in name
                and "NC" not in name.split("_")
                and all(file.exists() for file in files)
            ):
                rails[name] = files
    return rails


def _watts(volts: Path, amperes: Path) -> float:
    return 1e-6 * int(_read(volts, "INA3221")) * int(_read(amperes, "INA3221"))


class Nvml:
    """The energy counter of one NVIDIA card. `nvml` is the module pynvml, or its like."""

    def __init__(self, nvml: Any, index: int = 0) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._card = nvml.nvmlDeviceGetHandleByIndex(index)
            nvml.nvmlDeviceGetTotalEnergyConsumption(self._card)
            self.name = f"nvml ({nvml.nvmlDeviceGetName(self._card)})"
        except nvml.NVMLError as exc:
            raise BackendMissing(f"NVML: {exc}") from exc

    def joules(self) -> float:
        return 1e-3 * float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card))

    def close(self) -> None:
        self._nvml.nvmlShutdown()


def _nvml() -> Nvml:
    try:
        return Nvml(import_module("pynvml"))
    except ImportError:
        raise BackendMissing("NVML: pynvml is not installed (nvidia-ml-py)") from None


def find_meter(device: str = "CPU") -> tuple[Meter | None, str]:
    """The meter whose domain holds this device, and "" ; or None and why there is none.

    A Jetson's board sensor comes first; then the card for CUDA devices, the packages for others.
    """
    reasons = []
    on_gpu = device.lower().startswith(("cuda", "gpu", "nvidia"))
    for opened in (ina238, ina3221, _nvml if on_gpu else Rapl):
        try:
            return opened(), ""
        except BackendMissing as exc:
            reasons.append(str(exc))
    return None, "; ".join(reasons)


@dataclass(frozen=True)
class Energy:
    """mJ of one piece of work. net is None where idle power was not measured."""

    gross_mj: float
    net_mj: float | None


def idle_watts(meter: Meter, seconds: float = 2.0) -> float:
    """Mean power of the meter's domain while we do nothing."""
    start, joules = time.perf_counter(), meter.joules()
    time.sleep(seconds)
    return (meter.joules() - joules) / (time.perf_counter() - start)


def energy_of(
    meter: Meter,
    work: Callable[[], object],
    idle_w: float | None = None,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Energy:
    """Mean energy of one call of `work`, repeated for at least `seconds`."""
    calls, start, joules = 0, clock(), meter.joules()
    while clock() - start < seconds or not calls:
        work()
        calls += 1
    used, elapsed = meter.joules() - joules, clock() - start
    net = None if idle_w is None else 1e3 * (used - idle_w * elapsed) / calls
    return Energy(1e3 * used / calls, net)


def _label(folder: Path) -> str:
    try:
        return (folder / "name").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _read(path: Path, meter: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise BackendMissing(f"{meter}: {path}: {exc.strerror}") from exc
