"""Random draws of the degradations, from torch's generator."""

from __future__ import annotations

import torch


def random() -> float:
    """Evenly from 0 to 1."""
    return float(torch.rand(()))


def sign() -> int:
    """-1 or 1."""
    return 1 if random() < 0.5 else -1
