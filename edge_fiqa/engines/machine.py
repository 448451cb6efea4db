"""What machine this is: Jetson model, JetPack, power mode, clocks, memory. Read, never changed."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import machine
from typing import Any

from edge_fiqa.engines.jetpack import JetPack, jetpack_of


@dataclass(frozen=True)
class Machine:
    """None where the machine does not say. gpu_mhz: now, lowest, highest. *_mb: MiB of memory."""

    model: str | None = None
    l4t: str | None = None  # Jetson Linux, as in "36.4.0"
    power_mode: str | None = None
    gpu_mhz: tuple[int, int, int] | None = None
    available_mb: int | None = None
    total_mb: int | None = None
    swap_mb: int | None = None

    @property
    def jetpack(self) -> JetPack | None:
        return None if self.l4t is None else jetpack_of(self.l4t)

    @property
    def clocks_fixed(self) -> bool | None:
        """Whether the GPU's clock cannot fall, as after `jetson_clocks`."""
        return None if self.gpu_mhz is None else self.gpu_mhz[1] == self.gpu_mhz[2]

    def described(self) -> dict[str, Any]:
        name = None if self.jetpack is None else self.jetpack.name
        return {**asdict(self), "jetpack": name, "clocks_fixed": self.clocks_fixed}


def read_machine(root: Path = Path("/"), nvpmodel: str = "nvpmodel") -> Machine:
    """Read /proc, /sys and `nvpmodel -q` below `root`; nothing needs privileges."""
    memory = _memory(_text(root / "proc/meminfo"))
    return Machine(
        model=_text(root / "proc/device-tree/model").strip("\0 \n") or None,
        l4t=_l4t(_text(root / "etc/nv_tegra_release")),
        power_mode=_power_mode(root, nvpmodel),
        gpu_mhz=_gpu_clock(root / "sys/class/devfreq"),
        available_mb=memory.get("MemAvailable"),
        total_mb=memory.get("MemTotal"),
        swap_mb=memory.get("SwapTotal"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _l4t(text: str) -> str | None:
    """From `# R36 (release), REVISION: 4.0, GCID: ...`."""
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{release[1]}.{release[2]}" if release else None


def _power_mode(root: Path, nvpmodel: str) -> str | None:
    """The mode's name from `nvpmodel -q`, else its number from the service's state file."""
    if (root / "etc/nv_tegra_release").exists():
        try:
            done = subprocess.run(
                [nvpmodel, "-q"], capture_output=True, text=True, timeout=5, check=False
            )
            if mode := re.search(r"NV Power Mode:\s*(\S+)", done.stdout):
                return mode[1]
        except (OSError, subprocess.TimeoutExpired):
            pass
    mode = re.search(r"pmode:0*(\d+)", _text(root / "var/lib/nvpmodel/status"))
    return f"mode {mode[1]}" if mode else None


def _gpu_clock(folder: Path) -> tuple[int, int, int] | None:
    """MHz now, lowest, highest of the first GPU among the frequency-scaled devices."""
    for device in sorted(folder.glob("*")):
        if re.search(r"gpu|ga10b|gv11b|gb10b", device.name):
            values = [_text(device / f"{name}_freq").strip() for name in ("cur", "min", "max")]
            if all(value.isdigit() for value in values):
                current, lowest, highest = (int(value) // 1_000_000 for value in values)
                return current, lowest, highest
    return None


def _memory(text: str) -> dict[str, int]:
    return {key: int(kib) // 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}


def platform() -> str:
    """`aarch64-linux`: a plan belongs to one."""
    return f"{machine()}-{sys.platform}"
