"""From logits of causes to the reasons that a record gives."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from edge_fiqa.reasons.causes import CAUSES, Cause
from edge_fiqa.reasons.limits import CauseLimits
from edge_fiqa.types import Array

UNKNOWN = Cause(None, None)  # of a network that reads other causes than ours


class ReportedCause(Struct, frozen=True):
    """A certain cause of low quality. component: the nearest one of ISO/IEC 29794-5. value: 0..100,
    higher is better."""

    cause: str
    component: str | None
    value: int


class Reasons(Struct, frozen=True):
    """Why a face is not better, read at the exit where it stopped.

    instruction: what the person in front of the camera can do, about the first reported cause that a
    person can change. reported: causes that are certain at the calibration's false-alarm rate, most
    unusual first. values: of every cause, 0..100, higher is better.
    """

    instruction: str | None
    reported: tuple[ReportedCause, ...]
    values: dict[str, int]


def reasons_of(logits: Array, exit: int, limits: CauseLimits) -> Reasons | None:
    """Why a face is not better. logits: (D,) in the order of `limits.names`, read at `exit`.

    None if a logit is not finite.
    """
    if not np.isfinite(logits).all():
        return None
    certain = limits.certain(logits, exit)
    values = {
        name: int(value) for name, value in zip(limits.names, cause_values(logits), strict=True)
    }
    order = np.argsort(-certain, kind="stable")[: np.isfinite(certain).sum()]
    names = [limits.names[row] for row in order]
    reported = tuple(
        ReportedCause(name, CAUSES.get(name, UNKNOWN).component, values[name]) for name in names
    )
    instructions = (CAUSES.get(name, UNKNOWN).instruction for name in names)
    return Reasons(next(filter(None, instructions), None), reported, values)


def cause_values(logits: Array) -> Array:
    """0 to 100, whole numbers, higher is better as in ISO/IEC 29794-5: 100 (1 - expected strength).

    The expected strength of a degradation, 0 to 1, is the sigmoid of its logit.
    """
    return np.rint(100 / (1 + np.exp(np.clip(logits.astype(np.float64), -50, 50)))).astype(
        np.float32
    )
