"""How fast a run learns at each step."""

from __future__ import annotations

import math

from edge_fiqa.training.recipe import Schedule


def pace(schedule: Schedule, step: int) -> float:
    """Share of the peak rate: linear warm-up, then half a cosine down to 1 %, or level and at last
    1 - sqrt(share of the decay) (arXiv:2405.18392)."""
    progress, warmup = step / schedule.steps, schedule.warmup
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    if not schedule.decay_steps:
        return 0.01 + 0.99 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
    fallen = max(0, step - schedule.decay_step) / schedule.decay_steps
    return max(0.01, 1 - math.sqrt(fallen))
