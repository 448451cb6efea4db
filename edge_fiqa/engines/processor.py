"""What the processor can multiply: its instruction sets by the names that Linux gives them."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path

import numpy as np

KNOWN = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimddp", "i8mm", "bf16"),
)
"""Those that decide how a model is computed: of x86, and of ARM."""
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


@cache
def instruction_sets(root: Path = Path("/")) -> tuple[str, ...]:
    """Those of KNOWN that this machine has, in their order. Never raises; () where nothing is known."""
    flags = set(_cpuinfo(root, ("flags", "Features")).split())
    if not flags:
        flags = {flag for name in _numpy_features() for flag in NUMPY_NAMES.get(name, ())}
    if sys.platform == "darwin" and platform.machine() == "arm64":
        flags.add("asimddp")  # every Apple M has it
    return tuple(name for name in KNOWN if name in flags)


@cache
def processor_name(root: Path = Path("/")) -> str:
    """What the processor calls itself, else its architecture."""
    return _cpuinfo(root, ("model name",)) or platform.processor() or platform.machine()


STRONGEST = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp")


def described() -> str:
    """The name, and the strongest set for products of bytes: one name may stand for many machines."""
    sets = instruction_sets()
    strongest = next((name for name in STRONGEST if name in sets), None)
    return processor_name() + (f" with {strongest}" if strongest else "")


def _cpuinfo(root: Path, keys: tuple[str, ...]) -> str:
    """The first value under one of these keys."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _numpy_features() -> list[str]:
    try:
        found = np.show_config(mode="dicts")["SIMD Extensions"]
    except (KeyError, TypeError):  # a NumPy that was built without them
        return []
    return [*found.get("baseline", ()), *found.get("found", ())]
