"""Is the cost table, which budgets read, right? Predicted against actual time of every depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge_fiqa.bench.run import NEVER_STOPS
from edge_fiqa.bench.timing import USUAL, Effort, in_rounds
from edge_fiqa.policies.policy import Budget, Fixed, Policy
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Bytes

WAYS: dict[str, Callable[[int], list[Policy]]] = {
    "one": lambda depth: [Fixed(depth)],
    "steps": lambda depth: [Fixed(depth), NEVER_STOPS],
    "budget": lambda depth: [Fixed(depth), Budget(ms=1e9)],
}
"""Ways to reach a depth: known before, with a policy asked after each segment, by a budget in ms."""


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
    combinations = {(way, k): make(k) for way, make in WAYS.items() for k in controller.exits}
    for policies in combinations.values():
        controller.prepare(policies)
    runs = {
        f"{way} {k}": partial(controller.assess, face, policies)
        for (way, k), policies in combinations.items()
    }
    times = in_rounds(runs, effort)
    predictions = []
    for (way, k), policies in combinations.items():
        predicted = controller.costs.ms_of(controller.route(k, policies))
        assert predicted is not None  # the table has every segment: it was measured here
        actual = float(np.median(times[f"{way} {k}"].rounds))
        predictions.append(Prediction(way, k, predicted, actual))
    return tuple(predictions)


def errors(predictions: Sequence[Prediction]) -> tuple[float, float]:
    """Median and 90th percentile of the relative errors."""
    median, p90 = np.percentile([p.error for p in predictions], (50, 90))
    return float(median), float(p90)
