"""Raw fused scores onto one 0-100 scale, by matching moments. Pure.

A fused score of depth 4 is not a fused score of depth 12. With the mean and deviation of the fused
score at every depth, seen on the same faces, both are brought to standard units, and standard units
to 0..100 by a logistic curve: round(100 / (1 + exp(-1.702 z))), the form that OFIQ uses
(ISO/IEC 29794-1: higher is better). 1.702 makes the logistic curve follow the normal one, so an
average face scores 50 and the scale is close to a percentile.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from edge_fiqa.fusion import RULES, fuse
from edge_fiqa.types import Array

LOGISTIC = 1.702


class Moments(Struct, frozen=True, forbid_unknown_fields=True):
    """Mean and standard deviation of the fused score at depth 1, 2, ... E."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def quality(self, score: float, depth: int) -> int:
        """0..100, higher is better. `score` is finite and fused over exits 1..depth."""
        z = (score - self.mean[depth - 1]) / self.deviation[depth - 1]
        return round(100 / (1 + float(np.exp(np.clip(-LOGISTIC * z, -60, 60)))))


def measure_moments(trail: Array) -> dict[str, Moments]:
    """From the complete trails (N, E) of calibration faces: the moments under every fusion rule."""
    depths = range(1, trail.shape[1] + 1)
    fused = {rule: [fuse(trail, depth, rule) for depth in depths] for rule in RULES}
    return {
        rule: Moments(
            tuple(float(f.mean()) for f in columns),
            tuple(max(float(f.std()), 1e-6) for f in columns),
        )
        for rule, columns in fused.items()
    }
