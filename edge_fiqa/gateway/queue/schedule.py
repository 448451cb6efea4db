"""Which face is scored next, and how deep. Pure: plain data in, a grant out, no clock.

Earliest deadline first over all cameras.
As demand outgrows the machine, this happens in this order:

1. Every face gets less depth.
   It gets the deepest exit at which all that wait end in time, and at which the machine keeps up with
   what arrives.
2. Faces of people who already have a good shot are skipped, the oldest first.
3. The oldest faces are dropped.

All faces cost the same at one exit.
So removing one face whenever the queue up to some deadline does not fit loses as few faces as any rule
can (Moore, Management Science 15(1), 1968).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LEAST_BATCH_GAIN = 0.5
"""Share of a face's cost that a batch must save.

Processors save less, and need memory for every batch size. GPUs save more.
"""

LEAST_SAVING = 0.14
"""Share of an exit's cost that a shallower one must save to be worth its memory."""


@dataclass(frozen=True)
class WaitingFace:
    """A face that waits. arrived, deadline: seconds on one clock.

    has_good_shot: of its person.
    """

    id: int
    arrived: float
    deadline: float
    has_good_shot: bool = False


@dataclass(frozen=True)
class Speed:
    """What the machine does. seconds[i]: one face to exits[i], rising, on one of `workers`.

    marginal: what each further face of a batch costs, as a share of the first.
    With 1 a batch saves nothing.
    """

    exits: tuple[int, ...]
    seconds: tuple[float, ...]
    workers: int = 1
    marginal: float = 1.0

    @property
    def batches(self) -> bool:
        """Whether faces are scored together; else one after the other."""
        return self.marginal <= 1 - LEAST_BATCH_GAIN

    def scaled(self, factor: float) -> Speed:
        """The same machine, `factor` times slower."""
        seconds = tuple(factor * value for value in self.seconds)
        return Speed(self.exits, seconds, self.workers, self.marginal)

    @property
    def capacity(self) -> float:
        """Faces per second at full depth."""
        return self.workers / self.seconds[-1]

    def batch_seconds(self, index: int, faces: int) -> float:
        """A batch of `faces` to exits[index]."""
        return self.seconds[index] * (1 + (faces - 1) * self.marginal)


def exits_to_load(exits: Sequence[int], cost: Sequence[float], least_exit: int) -> tuple[int, ...]:
    """The exits to choose from: the deepest, and each that is LEAST_SAVING cheaper than the next.

    Every exit that may be granted is held in memory on its own, as deep as it is.
    None is shallower than least_exit, unless there is no other.
    cost: of each exit, rising.
    """
    kept = [len(exits) - 1]
    for index in reversed(range(len(exits) - 1)):
        if exits[index] >= least_exit and cost[index] <= (1 - LEAST_SAVING) * cost[kept[0]]:
            kept.insert(0, index)
    return tuple(exits[index] for index in kept)


@dataclass(frozen=True)
class Rules:
    """What the scheduler plans with.

    least_exit: shallower answers are worth nothing.
    utilisation: share of the machine to plan for.
    margin_s: how long before its deadline an answer should be there.
    caution: what waits must end in time even if it is that many times slower, else all get less depth.
    batch: most faces of one grant, where batches gain something.
    crowd: if more than this wait, one grant is for a batch as well, since granting costs time too.
    """

    least_exit: int = 2
    utilisation: float = 0.9
    margin_s: float = 0.01
    caution: float = 1.25
    batch: int = 8
    crowd: int = 32


@dataclass(frozen=True)
class Grant:
    """What one worker does next.

    run: ids to score now, in order, to `exit`.
    skipped: faces of people with a good shot.
    dropped: too many, or late.
    """

    run: tuple[int, ...]
    exit: int
    skipped: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


Strategy = Callable[[float, Sequence[WaitingFace], Speed, float], Grant]


def grant_depth(
    now: float, waiting: Sequence[WaitingFace], speed: Speed, demand: float, rules: Rules
) -> Grant:
    """What a worker that is free at `now` does next. demand: faces per second that arrive."""
    start, least = now + rules.margin_s, _least_index(speed, rules)
    kept, lost = admit(start, waiting, speed.seconds[least] / speed.workers)
    index, count = least, 0
    if kept:
        index = _deepest_index(start, kept, speed, demand, rules)
        count = _batch(start, kept, speed, index, rules)
    return Grant(
        tuple(face.id for face in kept[:count]),
        speed.exits[index],
        skipped=tuple(face.id for face in lost if face.has_good_shot),
        dropped=tuple(face.id for face in lost if not face.has_good_shot),
    )


def at_fixed_exit(
    now: float,
    waiting: Sequence[WaitingFace],
    speed: Speed,
    demand: float = 0.0,
    *,
    exit: int | None = None,
) -> Grant:
    """One depth for all (None: full), and what cannot be in time is dropped.

    demand: not used; it makes this a Strategy.
    """
    index = len(speed.exits) - 1 if exit is None else speed.exits.index(exit)
    kept, lost = admit(now, waiting, speed.seconds[index] / speed.workers)
    return Grant(
        tuple(face.id for face in kept[:1]),
        speed.exits[index],
        dropped=tuple(face.id for face in lost),
    )


def admit(
    start: float, waiting: Sequence[WaitingFace], each_s: float
) -> tuple[list[WaitingFace], list[WaitingFace]]:
    """Faces that can all end in time at `each_s` seconds a face, by deadline; and the rest.

    Wherever the queue does not fit, the oldest face of a person with a good shot is removed, else the
    oldest. Late faces are the first of the queue, where each of them is alone and removed.
    """
    kept: list[WaitingFace] = []
    lost: list[WaitingFace] = []
    for face in sorted(waiting, key=lambda face: (face.deadline, face.arrived, face.id)):
        kept.append(face)
        if start + len(kept) * each_s > face.deadline:
            removed = min(kept, key=lambda face: (not face.has_good_shot, face.arrived, face.id))
            kept.remove(removed)
            lost.append(removed)
    return kept, lost


def _least_index(speed: Speed, rules: Rules) -> int:
    """Of the shallowest exit that the rules allow, else of the deepest."""
    deep = (index for index, exit in enumerate(speed.exits) if exit >= rules.least_exit)
    return next(deep, len(speed.exits) - 1)


def _deepest_index(
    start: float, queue: Sequence[WaitingFace], speed: Speed, demand: float, rules: Rules
) -> int:
    """Of the deepest exit at which the machine keeps up with demand, and the whole queue is in time."""
    deepest = _least_index(speed, rules)
    for index in range(deepest + 1, len(speed.exits)):
        seconds = speed.seconds[index]
        keeps_up = demand * seconds <= rules.utilisation * speed.workers
        if not keeps_up or not _all_in_time(start, queue, rules.caution * seconds / speed.workers):
            break
        deepest = index
    return deepest


def _all_in_time(start: float, queue: Sequence[WaitingFace], each_s: float) -> bool:
    return all(start + count * each_s <= face.deadline for count, face in enumerate(queue, start=1))


def _batch(
    start: float, queue: Sequence[WaitingFace], speed: Speed, index: int, rules: Rules
) -> int:
    """How many of the first are granted at once, without making the first late."""
    if not speed.batches and len(queue) <= rules.crowd:
        return 1
    faces = 1
    while (
        faces < min(rules.batch, len(queue))
        and start + speed.batch_seconds(index, faces + 1) <= queue[0].deadline
    ):
        faces += 1
    return faces


class Demand:
    """Faces per second that arrive: a running mean with time constant `window_s`.

    The caller passes the time.
    """

    def __init__(self, window_s: float = 2.0) -> None:
        self.window_s = window_s
        self._weight, self._first, self._last = 0.0, math.nan, math.nan

    def arrive(self, now: float, faces: int = 1) -> None:
        if math.isnan(self._first):
            self._first = self._last = now
        self._weight = self._decayed(now) + faces
        self._last = max(now, self._last)

    def rate(self, now: float) -> float:
        """0 before the first face. Corrected for the part of the window before the first face."""
        if math.isnan(self._first):
            return 0.0
        seen = 1 - math.exp(-max(now - self._first, 0.25 * self.window_s) / self.window_s)
        return self._decayed(now) / (self.window_s * seen)

    def _decayed(self, now: float) -> float:
        return self._weight * math.exp(-max(now - self._last, 0.0) / self.window_s)
