"""Which processor this is, and which of the instruction sets that engines use it has.

x86-64 says its name in /proc/cpuinfo. ARM64 gives numbers: the implementer and the part of each core's
main ID register (MIDR), named here as in Arm's and Linux's lists (arch/arm64/include/asm/cputype.h).
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

INSTRUCTIONS = (
    *("sse4_2", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
"""As Linux spells them. 8-bit products: the vnni, amx_int8, asimddp, i8mm ones."""
STRONGEST = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp")
"""For products of bytes, the strongest first."""
NUMPY_NAMES = {
    "AVX2": ("avx2",),
    "X86_V3": ("avx2",),
    "X86_V4": ("avx2", "avx512f"),
    "AVX512_CLX": ("avx512f", "avx512_vnni"),
    "AVX512_ICL": ("avx512f", "avx512_vnni"),
    "AVX512_SPR": ("avx512f", "avx512_vnni", "avx512_bf16"),
    "ASIMDDP": ("asimddp",),
}
"""Where there is no /proc/cpuinfo: NumPy asks the processor itself, and knows fewer."""

ARM, FUJITSU, NVIDIA, QUALCOMM, APPLE, AMPERE = 0x41, 0x46, 0x4E, 0x51, 0x61, 0xC0
PARTS = {
    (ARM, 0xD03): "Cortex-A53", (ARM, 0xD04): "Cortex-A35", (ARM, 0xD05): "Cortex-A55",
    (ARM, 0xD07): "Cortex-A57", (ARM, 0xD08): "Cortex-A72", (ARM, 0xD09): "Cortex-A73",
    (ARM, 0xD0A): "Cortex-A75", (ARM, 0xD0B): "Cortex-A76", (ARM, 0xD0C): "Neoverse N1",
    (ARM, 0xD0D): "Cortex-A77", (ARM, 0xD0E): "Cortex-A76AE", (ARM, 0xD40): "Neoverse V1",
    (ARM, 0xD41): "Cortex-A78", (ARM, 0xD42): "Cortex-A78AE", (ARM, 0xD44): "Cortex-X1",
    (ARM, 0xD46): "Cortex-A510", (ARM, 0xD47): "Cortex-A710", (ARM, 0xD49): "Neoverse N2",
    (ARM, 0xD4B): "Cortex-A78C", (ARM, 0xD4D): "Cortex-A715", (ARM, 0xD4F): "Neoverse V2",
    (ARM, 0xD80): "Cortex-A520", (ARM, 0xD81): "Cortex-A720", (ARM, 0xD83): "Neoverse V3AE",
    (ARM, 0xD84): "Neoverse V3", (ARM, 0xD8E): "Neoverse N3", (FUJITSU, 0x001): "A64FX",
    (NVIDIA, 0x003): "Denver 2", (NVIDIA, 0x004): "Carmel", (QUALCOMM, 0x001): "Oryon",
    (AMPERE, 0xAC3): "Ampere-1", (AMPERE, 0xAC4): "Ampere-1a",
}  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """name: "AMD EPYC", "4 x Cortex-A76". instructions: those of INSTRUCTIONS that it has.

    cores_off: numbers of cores that a power mode has switched off, as Linux writes them ("4-7").
    """

    name: str
    instructions: tuple[str, ...]
    cores_off: str | None = None

    def __str__(self) -> str:
        """With the strongest set for products of bytes, since one name may stand for many machines."""
        strongest = next((name for name in STRONGEST if name in self.instructions), None)
        return self.name + (f" with {strongest}" if strongest else "")


@cache
def this_processor() -> Processor:
    """Read once: it takes milliseconds where there are many cores."""
    return read_processor()


def read_processor(root: Path = Path("/")) -> Processor:
    """From /proc/cpuinfo and /sys below `root`; elsewhere from sysctl and NumPy. Never raises."""
    text = _text(root / "proc/cpuinfo")
    fields = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.M))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    if not flags:
        flags = {flag for feature in _numpy_features() for flag in NUMPY_NAMES.get(feature, ())}
    if sys.platform == "darwin" and platform.machine() == "arm64":
        flags.add("asimddp")  # every Apple M has it
        flags |= {"sme"} if _sysctl("hw.optional.arm.FEAT_SME") == "1" else set()
    name = fields.get("model name") or _arm_cores(text) or _sysctl("machdep.cpu.brand_string")
    return Processor(
        name.strip() or platform.processor() or platform.machine(),
        tuple(flag for flag in INSTRUCTIONS if flag in flags),
        _text(root / "sys/devices/system/cpu/offline").strip() or None,
    )


def _arm_cores(cpuinfo: str) -> str:
    """ "4 x Cortex-A76 + 4 x Cortex-A55"; numbers where a part is not known here."""
    cores = re.findall(r"^CPU implementer\s*: (\S+)[\s\S]*?^CPU part\s*: (\S+)", cpuinfo, re.M)
    numbers = Counter((int(implementer, 16), int(part, 16)) for implementer, part in cores)
    return " + ".join(
        f"{count} x {PARTS.get(core, f'ARM core {core[0]:#04x}/{core[1]:#05x}')}"
        for core, count in numbers.items()
    )


def _sysctl(key: str) -> str:
    """What macOS says of itself; "" elsewhere."""
    if sys.platform != "darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", key]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _numpy_features() -> list[str]:
    try:
        features = np.show_config(mode="dicts")["SIMD Extensions"]
    except (KeyError, TypeError):  # a NumPy that was built without them
        return []
    return [*features.get("baseline", ()), *features.get("found", ())]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
