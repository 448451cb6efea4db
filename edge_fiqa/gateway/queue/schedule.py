"""Which face is looked at next, and how deep. Pure: plain data in, a decision out, no clock.

Earliest deadline first over all cameras. As demand outgrows the machine, in this order:

1. every face gets less depth: the deepest exit at which all that wait end in time, and at which the
   machine keeps up with what arrives;
2. faces of people who already have a good shot are skipped, the oldest first;
3. the oldest faces are dropped.

All faces cost the same at one exit, so leaving one out whenever the queue up to some deadline does not
fit loses as few faces as any rule can (Moore, Management Science 15(1), 1968).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WaitingFace:
    """A face that waits. arrived, deadline: seconds on one clock. spare: its person has a good shot."""

    id: int
    arrived: float
    deadline: float
    spare: bool = False


BATCH_GAIN = 0.5  # of a face's cost: processors gain less, and need the memory; GPUs gain more
STEP = 0.14  # of an exit's cost: what another one must save to be worth its memory


@dataclass(frozen=True)
class Speed:
    """What the machine does. seconds[i]: one face to exits[i], rising, on one of `workers`.

    marginal: what each further face of a batch costs, as a share of the first. 1: batches gain nothing.
    """

    exits: tuple[int, ...]
    seconds: tuple[float, ...]
    workers: int = 1
    marginal: float = 1.0

    @property
    def batches(self) -> bool:
        """Whether faces are scored together; else one after the other."""
        return self.marginal <= 1 - BATCH_GAIN

    def scaled(self, factor: float) -> Speed:
        """The same machine, `factor` times slower."""
        seconds = tuple(factor * value for value in self.seconds)
        return Speed(self.exits, seconds, self.workers, self.marginal)

    @property
    def capacity(self) -> float:
        """Faces per second at full depth."""
        return self.workers / self.seconds[-1]

    def batch_seconds(self, place: int, faces: int) -> float:
        return self.seconds[place] * (1 + (faces - 1) * self.marginal)


def worth_loading(exits: Sequence[int], cost: Sequence[float], least_exit: int) -> tuple[int, ...]:
    """The exits to choose from: the deepest, and each that is at least STEP cheaper than the next.

    Every exit that may be granted is held in memory on its own, as deep as it is. None is shallower
    than least_exit, unless there is no other. cost: of each exit, rising.
    """
    kept = [len(exits) - 1]
    for place in reversed(range(len(exits) - 1)):
        if exits[place] >= least_exit and cost[place] <= (1 - STEP) * cost[kept[0]]:
            kept.insert(0, place)
    return tuple(exits[place] for place in kept)


@dataclass(frozen=True)
class Rules:
    """least_exit: shallower answers are worth nothing. utilisation: share of the machine to plan for.

    caution: what waits must end in time even that many times slower, else all get less depth.
    margin_s: how long before its deadline an answer should be there. batch: most faces of one decision,
    where batches gain something, or more than `crowd` wait: deciding for each would cost too much.
    """

    least_exit: int = 4
    utilisation: float = 0.9
    margin_s: float = 0.01
    caution: float = 1.25
    batch: int = 8
    crowd: int = 32


@dataclass(frozen=True)
class Grant:
    """run: ids to score now, in order, to `exit`. skipped: spare ones. dropped: too many, or late."""

    run: tuple[int, ...]
    exit: int
    skipped: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


Strategy = Callable[[float, Sequence[WaitingFace], Speed, float], Grant]


def decide(
    now: float, waiting: Sequence[WaitingFace], speed: Speed, demand: float, rules: Rules
) -> Grant:
    """What a worker that is free at `now` does next. demand: faces per second that arrive."""
    least = next(
        (i for i, k in enumerate(speed.exits) if k >= rules.least_exit), len(speed.exits) - 1
    )
    start = now + rules.margin_s
    kept, lost = admit(start, waiting, speed.seconds[least] / speed.workers)
    skipped = tuple(face.id for face in lost if face.spare)
    dropped = tuple(face.id for face in lost if not face.spare)
    if not kept:
        return Grant((), speed.exits[least], skipped, dropped)
    place = least
    for deeper in range(least + 1, len(speed.exits)):
        seconds = speed.seconds[deeper]
        if demand * seconds > rules.utilisation * speed.workers:
            break
        if not _all_in_time(start, kept, rules.caution * seconds / speed.workers):
            break
        place = deeper
    together = 1
    if speed.batches or len(kept) > rules.crowd:
        together = _batch(start, kept, speed, place, rules.batch)
    return Grant(tuple(face.id for face in kept[:together]), speed.exits[place], skipped, dropped)


def at_fixed_exit(
    now: float,
    waiting: Sequence[WaitingFace],
    speed: Speed,
    demand: float = 0.0,
    *,
    exit: int | None = None,
) -> Grant:
    """The plain way: one depth for all (None: full), and what cannot be in time is dropped.

    demand is not looked at: it makes this a Strategy.
    """
    place = len(speed.exits) - 1 if exit is None else speed.exits.index(exit)
    kept, lost = admit(now, waiting, speed.seconds[place] / speed.workers)
    return Grant(
        tuple(face.id for face in kept[:1]),
        speed.exits[place],
        dropped=tuple(face.id for face in lost),
    )


def admit(
    start: float, waiting: Sequence[WaitingFace], each_s: float
) -> tuple[list[WaitingFace], list[WaitingFace]]:
    """Faces that can all end in time at `each_s` seconds a face, by deadline; and the rest.

    Late ones go; then, wherever the queue does not fit, the oldest spare one, else the oldest.
    """
    kept: list[WaitingFace] = []
    lost: list[WaitingFace] = []
    for face in sorted(waiting, key=lambda face: (face.deadline, face.arrived, face.id)):
        if start + each_s > face.deadline:
            lost.append(face)
            continue
        kept.append(face)
        if start + len(kept) * each_s > face.deadline:
            leaves = min(kept, key=lambda face: (not face.spare, face.arrived, face.id))
            kept.remove(leaves)
            lost.append(leaves)
    return kept, lost


def _all_in_time(start: float, queue: Sequence[WaitingFace], each_s: float) -> bool:
    return all(start + place * each_s <= face.deadline for place, face in enumerate(queue, start=1))


def _batch(start: float, queue: Sequence[WaitingFace], speed: Speed, place: int, most: int) -> int:
    """How many of the first may run as one batch without making the first late."""
    faces = 1
    while (
        faces < min(most, len(queue))
        and start + speed.batch_seconds(place, faces + 1) <= queue[0].deadline
    ):
        faces += 1
    return faces


class Demand:
    """Faces per second that arrive: a running mean with time constant `window_s`. Told the time."""

    def __init__(self, window_s: float = 2.0) -> None:
        self.window_s = window_s
        self._weight, self._first, self._last = 0.0, math.nan, 0.0

    def arrive(self, now: float, faces: int = 1) -> None:
        if math.isnan(self._first):
            self._first = self._last = now
        self._weight = self._decayed(now) + faces
        self._last = max(now, self._last)

    def rate(self, now: float) -> float:
        """0 before the first face. Corrected for the time that was not seen yet."""
        if math.isnan(self._first):
            return 0.0
        seen = 1 - math.exp(-max(now - self._first, 0.25 * self.window_s) / self.window_s)
        return self._decayed(now) / (self.window_s * seen)

    def _decayed(self, now: float) -> float:
        return self._weight * math.exp(-max(now - self._last, 0.0) / self.window_s)
