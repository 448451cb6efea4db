"""In which type a network is computed while it learns: bfloat16 where the device has products of it.

A processor without them takes bfloat16 apart number by number, and a step takes several times as long
as in float32 (benchmarks/training_step.py). Weights, losses and the optimiser are float32 everywhere.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from edge_fiqa.engines.processor import this_processor

WITH_PRODUCTS = ("avx512_bf16", "amx_bf16", "bf16")
AMPERE = (8, 0)


def number_type(device: torch.device, instructions: Collection[str] | None = None) -> torch.dtype:
    """instructions: of the processor, as Linux spells them; None: of this one."""
    if device.type == "cuda":
        has_products = torch.cuda.get_device_capability(device) >= AMPERE
    else:
        known = this_processor().instructions if instructions is None else instructions
        has_products = any(name in known for name in WITH_PRODUCTS)
    return torch.bfloat16 if has_products else torch.float32


def mixed_precision(device: torch.device, cache_enabled: bool = True) -> torch.autocast:
    """Within it, products are computed in the device's number type."""
    enabled = number_type(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled, cache_enabled)
