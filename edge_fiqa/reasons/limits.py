"""When a cause is reported: where its logit is higher than those of nearly all good faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array, Rows

FALSE_ALARM = 0.05  # of good faces for which any cause may be reported
LEAST_PERSONS = 20  # for the middle and the spread of logits
FAR = 0.9  # quantile whose distance from the median is the spread


class CauseLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cause is reported above its limit.

    names: D causes. heads: SHA-256 of the heads that read them. exits: K depths. limits: K rows of D
    logits; None where the persons were too few. false_alarm: share of good faces for which any cause
    is reported, at most, wherever they stop. faces: persons of whom one good face each was used.
    """

    names: Annotated[tuple[str, ...], Meta(min_length=1)]
    heads: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    exits: Annotated[tuple[int, ...], Meta(min_length=1)]
    limits: tuple[tuple[float | None, ...], ...]
    false_alarm: Annotated[float, Meta(gt=0, lt=1)]
    faces: Annotated[int, Meta(ge=0)]

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ConfigError("limits of causes name a cause twice")
        widths = {len(row) for row in self.limits}
        if len(self.limits) != len(self.exits) or widths != {len(self.names)}:
            raise ConfigError(
                "limits of causes need a row for every exit, a number for every cause"
            )

    @property
    def reports(self) -> bool:
        """Whether any cause can be reported: the persons were enough for limits."""
        return self.limits[0][0] is not None

    def at(self, exit: int) -> Array:
        """(D,) limits at an exit; infinite where there is none, so that nothing is reported."""
        if exit not in self.exits:
            return np.full(len(self.names), np.inf, np.float32)
        row = self.limits[self.exits.index(exit)]
        return np.array([np.inf if limit is None else limit for limit in row], np.float32)


def fit_limits(
    logits: Array,
    quality: Array,
    groups: Sequence[str],
    *,
    names: Sequence[str],
    exits: Sequence[int],
    heads: str,
    false_alarm: float = FALSE_ALARM,
) -> CauseLimits:
    """Limits from good faces: those of at least the median quality, one of each person.

    logits: (N, K, D), at these K exits; quality: (N,), of the whole network; groups: the person of each
    face. On half of the persons the median m and the spread s (90 % quantile - m) of each logit are
    taken. On the other half, t is the k-th smallest of n values max over exits and causes of
    (logit - m) / s, with k = ceil((n + 1) (1 - false_alarm)); the limits are m + t s. So of new good
    faces at most `false_alarm` get any cause, at whichever exit they stop (split conformal,
    arXiv:2107.07511). With too few persons there is no such k, and all limits are None.
    """
    good = _good_faces(logits, quality, np.asarray(groups))
    fitted, tested = good[::2], good[1::2]
    rank = math.ceil(round((len(tested) + 1) * (1 - false_alarm), 9))
    rows: list[tuple[float | None, ...]] = [(None,) * len(names)] * len(exits)
    if len(fitted) >= LEAST_PERSONS and rank <= len(tested):
        middle, far = np.quantile(logits[fitted], [0.5, FAR], axis=0)
        spread = np.maximum(far - middle, 1e-3)
        furthest = ((logits[tested] - middle) / spread).max(axis=(1, 2))
        limits = middle + np.sort(furthest)[rank - 1] * spread
        rows = [tuple(float(limit) for limit in row) for row in limits]
    return CauseLimits(
        names=tuple(names),
        heads=heads,
        exits=tuple(exits),
        limits=tuple(rows),
        false_alarm=false_alarm,
        faces=len(good),
    )


def persons_needed(false_alarm: float = FALSE_ALARM) -> int:
    """The least number of persons with a good face from whom limits can be taken."""
    tested = max(LEAST_PERSONS, math.ceil(round(1 / false_alarm - 1, 9)))
    return 2 * tested


def _good_faces(logits: Array, quality: Array, groups: np.ndarray) -> Rows:
    """Rows of one good face of each person, in an order of chance."""
    whole = np.isfinite(logits).all(axis=(1, 2)) & np.isfinite(quality)
    if not whole.any():
        return np.empty(0, np.intp)
    rows = np.flatnonzero(whole & (quality >= np.median(quality[whole])))
    first = rows[np.unique(groups[rows], return_index=True)[1]]
    return np.random.default_rng(0).permutation(first)
