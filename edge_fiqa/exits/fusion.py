"""Fusion: the scores a face collected at its exits become one score. Pure functions of arrays.

A trail is (N, E), NaN where an exit was not run. Every rule reads the exits that were run, 1..d, and
renormalises its weights over them; a face with no score gives NaN. An exit that ran and returned
NaN or infinity makes the whole fused score NaN: a broken score is never averaged away.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array

Fusion = str | tuple[float, ...]
"""A rule's name, or one weight per exit."""

RULES = ("FW", "F", "last", "max", "median")


def depth_weights(depth: int) -> Array:
    """(depth,) weights l / (depth (depth + 1) / 2): EX-FIQA's FW, l / 78 at depth 12."""
    steps = np.arange(1, depth + 1, dtype=np.float32)
    return steps / steps.sum()


def parse_fusion(text: str, exits: int) -> Fusion:
    """A rule's name, or comma-separated weights, one per exit. ConfigError otherwise."""
    if text in RULES:
        return text
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"fusion {text!r} is not one of {', '.join(RULES)} nor a list of {exits} weights"
        ) from None
    return check_weights(weights, exits)


def check_weights(weights: Sequence[float], exits: int) -> tuple[float, ...]:
    if len(weights) != exits:
        raise ConfigError(f"fusion has {len(weights)} weights, the model has {exits} exits")
    if not all(np.isfinite(weights)) or min(weights) < 0:
        raise ConfigError(f"fusion weights must be finite and not negative, got {list(weights)}")
    if weights[0] <= 0:
        raise ConfigError(
            "the first fusion weight must be positive: a face may stop at exit 1, "
            "and its score would be undefined"
        )
    return tuple(weights)


def fuse(trail: Array, depth: npt.NDArray[np.intp] | int, rule: Fusion = "FW") -> Array:
    """Fused raw score of each face. trail (N, E), depth (N,) or one number -> (N,) float32.

    Only columns 0..depth-1 are read. Depth 0 gives NaN.
    """
    if isinstance(depth, (int, np.integer)):
        return _fuse_columns(trail[:, :depth], rule)
    out = np.empty(len(trail), np.float32)
    for reached in set(depth.tolist()):
        rows = depth == reached
        out[rows] = _fuse_columns(trail[rows, :reached], rule)
    return out


def _fuse_columns(scores: Array, rule: Fusion) -> Array:
    """(N, d) scores of the exits that were run -> (N,)."""
    depth = scores.shape[1]
    if depth == 0:
        return np.full(len(scores), np.nan, np.float32)
    if rule == "last":
        fused = scores[:, -1].copy()
    elif rule == "max":
        fused = scores.max(1)
    elif rule == "median":
        fused = np.median(scores, axis=1).astype(np.float32)
    else:
        # In float64: a sum in float32 ends in other bits where rows lie differently in memory.
        fused = (scores.astype(np.float64) @ _weights(rule, depth)).astype(np.float32)
    fused[~np.isfinite(scores).all(1)] = np.nan
    return fused


@lru_cache(maxsize=256)
def _weights(rule: Fusion, depth: int) -> Array:
    """(depth,) weights of a linear rule that sum to 1."""
    if rule == "FW":
        return depth_weights(depth)
    if rule == "F":
        return np.full(depth, 1 / depth, np.float32)
    if isinstance(rule, str):
        raise ConfigError(f"fusion {rule!r} is not one of {', '.join(RULES)}")
    weights = np.array(check_weights(rule, len(rule))[:depth], np.float64)
    return (weights / weights.sum()).astype(np.float32)
