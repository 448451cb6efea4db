"""Which kernels a plan consists of: from the builder's log, or from a plan that is loaded."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

IN_LOG = "Layers:"  # how the builder's message begins that lists them


class PlanKernel(NamedTuple):
    """kind: the library's word for it, as gemm, kgen (generated code) or runtime_fusion."""

    name: str
    kind: str

    @property
    def attention(self) -> bool:
        """A whole self-attention in one kernel: products, softmax, and no logits in memory."""
        return "mha" in self.name.lower()


def kernels_in_log(text: str) -> list[PlanKernel]:
    """Of the builder's message that lists them, at detailed verbosity."""
    return [PlanKernel(*row) for row in re.findall(r"^Name: (.*?), LayerType: (\w+)", text, re.M)]


def kernels_of(engine: Any, module: Any) -> list[PlanKernel]:
    """Of a loaded plan; [] where the library tells nothing of it."""
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(module.LayerInformationFormat.JSON)
    layers = json.loads(text).get("Layers", [])
    # Built without detail, a plan knows the names alone.
    rows = [layer if isinstance(layer, dict) else {"Name": layer} for layer in layers]
    return [
        PlanKernel(str(row.get("Name", "")), str(row.get("LayerType", "unknown"))) for row in rows
    ]


def described(kernels: Sequence[PlanKernel], blocks: int) -> dict[str, Any]:
    """How many, of which kinds, and whether the attention of every block is one kernel."""
    return {
        "kernels": len(kernels),
        "kinds": dict(sorted(Counter(kernel.kind for kernel in kernels).items())),
        "attention_fused": sum(kernel.attention for kernel in kernels) >= blocks,
    }
