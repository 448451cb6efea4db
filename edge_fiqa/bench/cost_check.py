"""Is the cost table that budgets read true? Predicted against actual time of every depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge_fiqa.bench.run import NEVER
from edge_fiqa.bench.timing import USUAL, Effort, in_rounds
from edge_fiqa.policies.policy import Budget, Fixed, Policy
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Bytes

WAYS: dict[str, Callable[[int], list[Policy]]] = {
    "one": lambda depth: [Fixed(depth)],
    "steps": lambda depth: [Fixed(depth), NEVER],
    "budget": lambda depth: [Fixed(depth), Budget(ms=1e9)],
}
"""Ways to reach a depth: known before, asked after each segment, and as a budget in ms goes."""


@dataclass(frozen=True)
class Prediction:
    way: str
    exit: int
    predicted_ms: float
    actual_ms: float

    @property
    def error(self) -> float:
        """|predicted / actual - 1|."""
        return abs(self.predicted_ms / self.actual_ms - 1)


def check_costs(
    controller: Controller, face: Bytes, effort: Effort = USUAL
) -> tuple[Prediction, ...]:
    """face (1, 112, 112, 3). The controller's table, at load 1, against fresh runs of every depth."""
    asked = {(way, k): make(k) for way, make in WAYS.items() for k in controller.exits}
    for policies in asked.values():
        controller.prepare(policies)
    runs = {
        f"{way} {k}": partial(controller.assess, face, policies)
        for (way, k), policies in asked.items()
    }
    times = in_rounds(runs, effort)
    found = []
    for (way, k), policies in asked.items():
        predicted = controller.costs.ms_of(controller.route(k, policies))
        assert predicted is not None  # a table just measured has every segment
        found.append(Prediction(way, k, predicted, float(np.median(times[f"{way} {k}"].rounds))))
    return tuple(found)


def errors(predictions: Sequence[Prediction]) -> tuple[float, float]:
    """Median and 90th percentile of the relative errors."""
    median, p90 = np.percentile([p.error for p in predictions], (50, 90))
    return float(median), float(p90)
