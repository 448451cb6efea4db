"""Recommended gates: for a largest share of rejected faces, or for a largest FNMR. Pure."""

from __future__ import annotations

import numpy as np

from edge_fiqa.calibration.scale import Qualities
from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Mask

LEAST_PAIRS = 30


def gate_for_reject_rate(quality: Qualities, rate: float) -> int:
    """The highest gate that rejects at most the share `rate` of faces (N,)."""
    if not 0 <= rate < 1:
        raise ConfigError(f"a reject rate lies in [0, 1), got {rate}")
    rejected = [(quality < gate).mean() for gate in range(101)]
    allowed = np.flatnonzero(np.array(rejected) <= rate)
    if not allowed.size:
        raise ConfigError(f"{rejected[0]:.1%} of the faces have no finite score; a gate loses them")
    return int(allowed[-1])


def gate_for_fnmr(pair_quality: Qualities, non_match: Mask, fnmr: float) -> int:
    """The lowest gate at which mated pairs (P,) that pass fail to match at most at the rate `fnmr`.

    A pair passes if the lower of its two qualities does. Raises ConfigError if no gate that leaves
    LEAST_PAIRS pairs reaches it.
    """
    best = 1.0
    for gate in range(101):
        passed: Mask = pair_quality >= gate
        if passed.sum() < LEAST_PAIRS:
            break
        best = min(best, float(non_match[passed].mean()))
        if non_match[passed].mean() <= fnmr:
            return gate
    raise ConfigError(
        f"no gate brings the FNMR to {fnmr:g}: the best of {len(pair_quality)} pairs is {best:.4f}; "
        "ask for less, or accept a higher FMR"
    )
