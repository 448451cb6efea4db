"""Fusion: the scores a face collected at its exits become one score. Pure functions of arrays.

A trail is (N, E), NaN where an exit was not run. Every rule reads the exits that were run, 1..d, and
renormalises its weights over them; a face with no score gives NaN. An exit that ran and returned
NaN or infinity makes the whole fused score NaN: a broken score is never averaged away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    exits = trail.shape[1]
    ran = np.arange(exits) < np.broadcast_to(depth, len(trail))[:, None]
    if isinstance(rule, str):
        if rule not in RULES:
            raise ConfigError(f"fusion {rule!r} is not one of {', '.join(RULES)}")
        if rule in _PICK:
            return _selected(trail, ran, rule)
        weights = np.ones(exits) if rule == "F" else np.arange(1.0, exits + 1)
    else:
        weights = np.array(check_weights(rule, exits))
    used = np.where(ran, weights, 0.0)
    total = used.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fused = (np.where(ran, trail, 0.0) * used).sum(1) / total
    return _finite(fused)


_PICK: dict[str, Callable[[Array], np.floating]] = {
    "last": lambda scores: scores[-1],
    "max": lambda scores: scores.max(),
    "median": lambda scores: np.median(scores),
}


def _selected(trail: Array, ran: npt.NDArray[np.bool_], rule: str) -> Array:
    out = np.full(len(trail), np.nan, np.float32)
    for row, (scores, seen) in enumerate(zip(trail, ran, strict=True)):
        if (known := scores[seen]).size:
            out[row] = _PICK[rule](known) if np.isfinite(known).all() else np.nan
    return _finite(out)


def _finite(fused: npt.NDArray[np.floating]) -> Array:
    return np.where(np.isfinite(fused), fused, np.nan).astype(np.float32)
