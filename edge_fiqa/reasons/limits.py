"""When a cause is reported: where its logit is higher than those of nearly all good faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array, Floats, Mask, Rows

FALSE_ALARM = 0.05  # of good faces for which any cause may be reported
LEAST_RIGHT = 0.5  # share of an exit's reports; else no report is better
NEARLY = 0.85  # of the share of the best exit: what an exit needs to report as well
LEAST_STRENGTH = 0.1  # expected, of a cause; less does not matter, however unusual it is
LEAST_PERSONS = 20  # for the middle and the spread of logits
LogitRow = tuple[float, ...] | None


class CauseLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cause is reported above its limit.

    names: D causes. heads: SHA-256 of the heads that read them. exits: K depths. usual: K rows of D
    logits that are usual for good faces; spread: how far good faces go above them; limits: K rows of D
    logits above them. None where the persons were too few, or the exit is too seldom right.
    false_alarm: share of good faces for which any cause is reported, at most, wherever they stop.
    faces: persons of whom one good face each was used.
    least_score: what a good face has at least, as the score of all exits of the network, fused by FW;
    None where there was no face.
    """

    names: Annotated[tuple[str, ...], Meta(min_length=1)]
    heads: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    exits: Annotated[tuple[int, ...], Meta(min_length=1)]
    usual: tuple[LogitRow, ...]
    spread: tuple[LogitRow, ...]
    limits: tuple[LogitRow, ...]
    false_alarm: Annotated[float, Meta(gt=0, lt=1)]
    faces: Annotated[int, Meta(ge=0)]
    least_score: float | None

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ConfigError("limits of causes name a cause twice")
        rows = (*self.usual, *self.spread, *self.limits)
        fits = len(self.usual) == len(self.spread) == len(self.limits) == len(self.exits)
        if not fits or {len(row) for row in rows if row is not None} - {len(self.names)}:
            raise ConfigError(
                "limits of causes need a row for every exit, a number for every cause"
            )
        if (self.least_score is None) != (self.faces == 0):
            raise ConfigError("limits of causes need the least score of a good face")
        for usual, spread, limits in zip(self.usual, self.spread, self.limits, strict=True):
            if not (usual is None) == (spread is None) == (limits is None):
                raise ConfigError("limits of causes are there or not for a whole exit")
            if (
                not np.less(usual or (), limits or ()).all()
                or not np.greater(spread or (), 0).all()
            ):
                raise ConfigError("limits of causes lie above what is usual, by spreads above 0")

    @property
    def reporting(self) -> tuple[int, ...]:
        """The exits at which causes can be reported."""
        return tuple(e for e, row in zip(self.exits, self.limits, strict=True) if row is not None)

    def unusual(self, logits: Array, exit: int) -> Floats:
        """How unusual logits (..., D) of this exit are for a good face, in the same shape.

        0 as usual, 1 a spread above it. -inf where there are no limits.
        """
        if exit not in self.reporting:
            return np.full(logits.shape, -np.inf)
        usual, spread = (
            np.array(rows[self.exits.index(exit)], np.float64) for rows in (self.usual, self.spread)
        )
        return (logits - usual) / spread

    def reported(self, logits: Array, exit: int) -> Mask:
        """Which causes are certain, of logits (..., D) of this exit: the same shape."""
        if exit not in self.reporting:
            return np.zeros(logits.shape, bool)
        return logits > np.array(self.limits[self.exits.index(exit)], np.float64)

    def certain(self, logits: Array, exit: int) -> Floats:
        """`unusual` of the causes that are `reported`, -inf of the others."""
        return np.where(self.reported(logits, exit), self.unusual(logits, exit), -np.inf)


def fit_limits(
    logits: Array,
    score: Array,
    groups: Sequence[str],
    *,
    names: Sequence[str],
    exits: Sequence[int],
    heads: str,
    right: Sequence[float | None] = (),
    false_alarm: float = FALSE_ALARM,
) -> CauseLimits:
    """Limits from good faces: those of at least the median score, one of each person.

    logits: (N, K, D), at these K exits; score: (N,), of the whole network; groups: the person of each
    face. right: of each exit, see CauseHeads; one that is not right often enough (right_enough) gets no
    limits, and does not count below.

    On half of the persons the median m of each logit is taken, and the spread s: by how much the logits
    above m are above it, on average.
    A cause matters from a strength of LEAST_STRENGTH on, the sigmoid of its logit.
    On the other half, t is the k-th smallest of n values max over these exits and the causes that
    matter of (logit - m) / s, with k = ceil((n + 1) (1 - false_alarm)); the limits are m + max(t, 1) s,
    or the logit from which on a cause matters, if that is higher. So of new good faces at most
    `false_alarm` get any cause, at whichever exit they stop, on average over calibrations (split
    conformal, arXiv:2107.07511). With too few persons there is no such k, and all limits are None.
    """
    whole = np.isfinite(logits).all(axis=(1, 2)) & np.isfinite(score)
    least = float(np.median(score[whole])) if whole.any() else math.inf
    good = _one_of_each(np.flatnonzero(whole & (score >= least)), np.asarray(groups))
    fitted, tested = good[::2], good[1::2]
    rank = math.ceil(round((len(tested) + 1) * (1 - false_alarm), 9))
    rows: list[tuple[LogitRow, LogitRow, LogitRow]] = [(None, None, None)] * len(exits)
    used = [k for k, enough in enumerate(right_enough(right, len(exits))) if enough]
    if used and len(fitted) >= LEAST_PERSONS and rank <= len(tested):
        known = logits[fitted].astype(np.float64)
        middle = np.median(known, axis=0)
        spread = np.maximum(_mean_excess(known - middle), 1e-3 * np.maximum(1, np.abs(middle)))
        matters = math.log(LEAST_STRENGTH / (1 - LEAST_STRENGTH))
        distance = (logits[tested] - middle) / spread
        distance[logits[tested] < matters] = -math.inf
        t = max(np.sort(distance[:, used].max(axis=(1, 2)))[rank - 1], 1)
        limits = np.maximum(middle + t * spread, matters)
        for k in used:
            rows[k] = (_row(middle[k]), _row(spread[k]), _row(limits[k]))
    return CauseLimits(
        names=tuple(names),
        heads=heads,
        exits=tuple(exits),
        usual=tuple(usual for usual, _, _ in rows),
        spread=tuple(spread for _, spread, _ in rows),
        limits=tuple(limits for _, _, limits in rows),
        false_alarm=false_alarm,
        faces=len(good),
        least_score=least if len(good) else None,
    )


def _row(logits: Floats) -> tuple[float, ...]:
    return tuple(map(float, logits))


def _mean_excess(above: Floats) -> Floats:
    """(K, D): the mean of what is positive of (N, K, D), 0 where nothing is."""
    return np.maximum(above, 0).sum(0) / np.maximum((above > 0).sum(0), 1)


def right_enough(right: Sequence[float | None], exits: int) -> list[bool]:
    """Which of so many exits report causes: those that are right in half of their reports, and nearly
    as often as the best one. Where nothing is known (empty), all."""
    if not right:
        return [True] * exits
    shares = [share or 0.0 for share in right]
    return [share >= max(LEAST_RIGHT, NEARLY * max(shares)) for share in shares]


def persons_needed(false_alarm: float = FALSE_ALARM) -> int:
    """The least number of persons with a good face from whom limits can be taken."""
    return max(2 * LEAST_PERSONS - 1, 2 * math.ceil(round(1 / false_alarm - 1, 9)))


def _one_of_each(rows: Rows, groups: np.ndarray) -> Rows:
    """The first of these rows of each person, in an order of chance."""
    first = rows[np.unique(groups[rows], return_index=True)[1]]
    return np.random.default_rng(0).permutation(first)
