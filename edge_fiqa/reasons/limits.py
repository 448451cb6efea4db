"""When a cause is reported: where its logit is higher than those of nearly all good faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array

FALSE_ALARM = 0.05  # of good faces for which any cause may be reported


class CauseLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """A cause is reported above its limit.

    names: D causes. exits: K depths. limits: K rows of D logits; None where the faces were too few.
    false_alarm: share of good faces for which any of the D causes is reported, at most. faces: persons
    of whom one face each was used.
    """

    names: tuple[str, ...]
    exits: tuple[int, ...]
    limits: tuple[tuple[float | None, ...], ...]
    false_alarm: Annotated[float, Meta(gt=0, lt=1)]
    faces: int

    def __post_init__(self) -> None:
        if len(self.limits) != len(self.exits) or {len(row) for row in self.limits} - {
            len(self.names)
        }:
            raise ConfigError(
                "limits of causes need a row for every exit, a number for every cause"
            )

    def at(self, exit: int) -> Array:
        """(D,) limits at an exit, infinite where there is none. Raises ConfigError for an exit that
        has no limits."""
        if exit not in self.exits:
            raise ConfigError(f"there are no limits of causes for exit {exit}")
        row = self.limits[self.exits.index(exit)]
        return np.array([np.inf if limit is None else limit for limit in row], np.float32)


def fit_limits(
    logits: Array,
    names: Sequence[str],
    exits: Sequence[int],
    groups: Sequence[str],
    false_alarm: float = FALSE_ALARM,
) -> CauseLimits:
    """Limits from good faces. logits: (N, K, D), at these K exits; groups: the person of each face.

    The first face of each person counts, of those whose logits are finite. Each cause gets an equal
    part of the false alarms, and its limit is the k-th smallest of n logits,
    k = ceil((n + 1) (1 - false_alarm / D)): a new good face is above it with a probability of at most
    false_alarm / D (split conformal, arXiv:2107.07511). With fewer than D / false_alarm - 1 persons
    there is no such k, and the limit is None.
    """
    whole = np.isfinite(logits).all(axis=(1, 2))
    logits, persons_of_faces = logits[whole], np.asarray(groups)[whole]
    first = np.unique(persons_of_faces, return_index=True)[1]
    persons = len(first)
    rank = math.ceil((persons + 1) * (1 - false_alarm / len(names)))
    rows: list[tuple[float | None, ...]] = [(None,) * len(names)] * len(exits)
    if rank <= persons:
        limits = np.sort(logits[first], axis=0)[rank - 1]
        rows = [tuple(float(limit) for limit in row) for row in limits]
    return CauseLimits(tuple(names), tuple(exits), tuple(rows), false_alarm, persons)
