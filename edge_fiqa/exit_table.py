"""The gate as two numbers per exit, for a device that decides without asking the host. Pure.

At a given exit the gate sees one number of a face, its fused score. Where that lies outside an
interval, the gate is certain; the table holds these intervals. It is no second policy: whoever runs a
network by it hands the scores to the loop that asks the policies, and stopping too late or too early
costs time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.fusion import Fusion, linear_weights
from edge_fiqa.gate import Gate
from edge_fiqa.policy import Policy
from edge_fiqa.types import Array

SLACK = 1e-5  # of what the gate compares: a hundred times the rounding of float32
ULPS = 4  # a sum in another order moves the fused score by one at most


@dataclass(frozen=True, eq=False)
class ExitTable:
    """What stops a face at each of P decision points.

    depths: (P,) exits run by then. weights: (P, E) of their scores, which make the fused score, and 0
    beyond. low, high: (P,) a fused score below low or above high is certain. A face with a score that
    is not finite is done as well.
    """

    depths: tuple[int, ...]
    weights: Array
    low: Array
    high: Array


def exit_table(
    watching: Sequence[Policy], estimator: Estimator | None, fusion: Fusion, depths: Sequence[int]
) -> ExitTable | None:
    """The table of these policies at these decision points, or None where they have none.

    They have one if the only policy that watches is a gate with a margin that stops on either side (not
    `ranked`), asked with the estimates it expects, under a fusion rule that is a weighted sum.
    """
    if len(watching) != 1 or not isinstance(watching[0], Gate) or estimator is None or not depths:
        return None
    gate = watching[0]
    known, own = gate.estimator.rule, estimator.rule
    if (
        (known is not own and known != own)
        or gate.fusion != fusion
        or gate.ranked is not None
        or gate.margin is None
    ):
        return None
    return _table(gate, tuple(depths))


@lru_cache(maxsize=8)
def _table(gate: Gate, depths: tuple[int, ...]) -> ExitTable | None:
    weights = np.zeros((len(depths), len(gate.estimator.rule.depths)), np.float32)
    for row, depth in zip(weights, depths, strict=True):
        found = linear_weights(gate.fusion, depth)
        if found is None:
            return None
        row[:depth] = found
    low, high = zip(*(uncertain(gate, depth) for depth in depths), strict=True)
    return ExitTable(depths, weights, np.array(low, np.float32), np.array(high, np.float32))


def uncertain(gate: Gate, depth: int) -> tuple[np.float32, np.float32]:
    """The smallest interval of fused scores that holds all of which the gate is not certain.

    (inf, -inf) where it always is. Estimate and spread are made of straight lines: between the points
    where one of them bends, or the estimate crosses the line, certainty begins or ends once at most.
    """
    points = _bends(gate, depth)
    certain = _certain(gate, depth, points)
    if certain.all():
        return np.float32(np.inf), np.float32(-np.inf)
    doubtful = np.flatnonzero(~certain)
    first, last = doubtful[0], doubtful[-1]
    low, high = np.float32(-np.inf), np.float32(np.inf)
    if first > 0:
        low = _edge(gate, depth, points[first - 1], points[first])
        for _ in range(ULPS):
            low = np.nextafter(low, np.float32(-np.inf))
    if last < len(points) - 1:
        high = _edge(gate, depth, points[last + 1], points[last])
        for _ in range(ULPS):
            high = np.nextafter(high, np.float32(np.inf))
    return low, high


def _bends(gate: Gate, depth: int) -> Array:
    """(B,) rising fused scores: the bends of the estimate, and where it meets one of the spread's."""
    rule = gate.estimator.rule.depths[depth - 1]
    x, y = np.array(rule.full.x), np.array(rule.full.y)
    found = [x]
    for target in (gate.line, *rule.spread.x):
        at = np.flatnonzero((y[:-1] <= target) & (target <= y[1:]) & (y[:-1] < y[1:]))
        share = (target - y[at]) / (y[at + 1] - y[at])
        found.append(x[at] + share * (x[at + 1] - x[at]))
    return np.unique(np.concatenate(found).astype(np.float32))


def _certain(gate: Gate, depth: int, fused: Array) -> npt.NDArray[np.bool_]:
    """The gate's own comparison, with some slack."""
    assert gate.margin is not None
    estimate = gate.estimator.estimate(fused, depth)
    needed = gate.margin * gate.estimator.spread(estimate, depth).astype(np.float64)
    if np.isinf(gate.line):  # a gate that every face passes, or none
        return np.ones(len(fused), bool)
    slack = SLACK * (abs(gate.line) + np.abs(estimate) + needed)
    return np.asarray(np.abs(estimate - gate.line) > needed + slack)


def _edge(gate: Gate, depth: int, certain: np.float32, doubtful: np.float32) -> np.float32:
    """The doubtful score next to the certain ones, between these two."""
    while True:
        middle = np.float32((float(certain) + float(doubtful)) / 2)
        if middle in (certain, doubtful):
            return doubtful
        if _certain(gate, depth, np.array([middle]))[0]:
            certain = middle
        else:
            doubtful = middle
