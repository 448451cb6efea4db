"""The full fused score onto 0..100, higher is better (ISO/IEC 29794-1). Pure.

Two forms. `sigmoid`: round(100 / (1 + exp(-(x - x0) / w))), the form of OFIQ, whose x0 and w may be
pasted. `quantile`: the share of calibration faces that score lower.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge_fiqa.calibration.monotone import LARGEST, Line, rounded
from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array

LOGISTIC = 1.702  # makes the logistic curve follow the normal one, so that 84 is one deviation up
ScaleForm = Literal["sigmoid", "quantile"]
Qualities = npt.NDArray[np.intp]


class Sigmoid(Struct, frozen=True, forbid_unknown_fields=True, tag="sigmoid", tag_field="form"):
    """x0 scores 50; w is the step from 50 to 73."""

    x0: float
    w: float

    def __post_init__(self) -> None:
        if not (abs(self.x0) < LARGEST and 1 / LARGEST < self.w < LARGEST):
            raise ConfigError(f"a sigmoid scale needs a finite x0 and w > 0, got {self}")

    def quality(self, scores: npt.ArrayLike) -> Qualities:
        z = (np.asarray(scores, np.float64) - self.x0) / self.w
        return np.rint(100 / (1 + np.exp(np.clip(-z, -60, 60)))).astype(np.intp)

    def score_of(self, gate: int) -> float:
        """The lowest score of at least quality `gate`."""
        share = (gate - 0.5) / 100
        return -np.inf if share <= 0 else self.x0 + self.w * float(np.log(share / (1 - share)))


class Quantile(Struct, frozen=True, forbid_unknown_fields=True, tag="quantile", tag_field="form"):
    """percent: from a score to the share of calibration faces below it, in per cent."""

    percent: Line

    def __post_init__(self) -> None:
        percent = np.array(self.percent.y)
        if not ((percent >= 0).all() and (percent <= 100).all() and (np.diff(percent) > 0).all()):
            raise ConfigError("a quantile scale rises from 0 to 100 at most")

    def quality(self, scores: npt.ArrayLike) -> Qualities:
        percent = np.interp(np.asarray(scores, np.float64), self.percent.x, self.percent.y)
        return np.floor(percent + 0.5).astype(np.intp)  # where scores tie, at 0.5 too

    def score_of(self, gate: int) -> float:
        """The lowest score of at least quality `gate`."""
        if gate - 0.5 <= self.percent.y[0]:
            return -np.inf
        if gate - 0.5 > self.percent.y[-1]:
            return np.inf
        return float(np.interp(gate - 0.5, self.percent.y, self.percent.x))


Scale = Sigmoid | Quantile


def fit_scale(full: Array, form: ScaleForm = "sigmoid") -> Scale:
    """From full fused scores (N,) of calibration faces, of which the average one scores 50."""
    if form == "sigmoid":
        deviation = max(float(full.std(dtype=np.float64)), 1e-6)
        x0, w = rounded([full.mean(dtype=np.float64), deviation / LOGISTIC])
        return Sigmoid(float(x0), float(w))
    steps = np.linspace(0, 100, 101)
    return Quantile(Line.through(np.quantile(full, steps / 100), steps))


def form_of(scale: Scale) -> ScaleForm:
    return "sigmoid" if isinstance(scale, Sigmoid) else "quantile"
