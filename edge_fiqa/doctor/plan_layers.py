"""doctor --device --layers: kernels of each plan, by kind, and whether attention is one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_fiqa.engines.trt.kernels import described


def kernels_of_segments(engine: Any, say: Callable[[str], None]) -> dict[str, Any]:
    """By segment, for one face. engine: of backend trt or rtx.

    Unfused attention writes its logits to memory and reads them again, and takes eight kernels a block
    instead of one.
    """
    say(f"\n  {'segment':<12} {'kernels':>7}  {'attention':<10} kinds")
    rows: dict[str, Any] = {}
    for segment in sorted(engine.segments):
        row = described(engine.kernels(segment), segment.last - segment.first + 1)
        rows[segment.name] = row
        fused = "fused" if row["attention_fused"] else "not fused"
        kinds = ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items())
        say(f"  {segment.name:<12} {row['kernels']:>7}  {fused:<10} {kinds}")
    return rows
