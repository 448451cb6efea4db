"""The scheduler on a virtual clock: what would have become of these faces on this machine?

The grants are those of `edge_fiqa.gateway.queue.schedule`, asked for as the gateway does it.
Only time, scores and the length of each run come from tables.
So a strategy can be tried at any load in seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_fiqa.exits.cost import LoadFactor
from edge_fiqa.gateway.queue.schedule import Demand, Speed, Strategy, WaitingFace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arrival:
    """A face that comes at `time` seconds. face: its row in the table of qualities. track: whose."""

    time: float
    deadline: float
    face: int
    track: int


@dataclass(frozen=True)
class Outcome:
    """What became of N faces. exit: None where it was not answered. answered: seconds, else NaN."""

    exits: list[int | None]
    answered: Floats
    skipped: int
    dropped: int
    busy_share: float


@dataclass(frozen=True)
class Summary:
    """in_time: share of all faces answered within their deadline; misses: answered after it.

    depth: mean of those answered. regret: mean |quality - quality at full depth| of those answered,
    in points of 0-100. tracks_regret: how far the best shot reported of a track lies below the best of
    its faces at full depth (both in true quality), on average; a track without an answer loses all.
    """

    faces: int
    in_time: float
    misses: float
    skipped: float
    dropped: float
    depth: float
    regret: float
    tracks_regret: float
    unanswered_tracks: float
    latency_p99_s: float
    busy_share: float


@dataclass
class _State:
    waiting: dict[int, WaitingFace] = field(default_factory=dict)
    exits: list[int | None] = field(default_factory=list)
    skipped: int = 0
    dropped: int = 0
    busy: float = 0.0


def poisson(
    rng: np.random.Generator,
    rate: float,
    seconds: float,
    deadline_s: float,
    tracks: Sequence[Sequence[int]],
    fps: float = 10.0,
) -> list[Arrival]:
    """People come at random and are seen `fps` times a second; `rate` faces/s in all.

    tracks: for each kind of person, the rows of its faces, in order.
    """
    length = float(np.mean([len(rows) for rows in tracks]))
    count = rng.poisson(rate / length * (seconds + length / fps))
    arrivals = []
    for person in range(count):
        start = rng.uniform(-length / fps, seconds)
        rows = tracks[int(rng.integers(len(tracks)))]
        times = start + (np.arange(len(rows)) + rng.uniform(-0.2, 0.2, len(rows))) / fps
        arrivals += [
            Arrival(float(time), float(time) + deadline_s, row, person)
            for time, row in zip(times, rows, strict=True)
            if 0 <= time < seconds
        ]
    return sorted(arrivals, key=lambda arrival: arrival.time)


def simulate(
    arrivals: Sequence[Arrival],
    quality: Floats,
    speed: Speed,
    strategy: Strategy,
    good_shot: float,
    slowness: Floats | None = None,
) -> Outcome:
    """quality: (faces, exits) 0-100 of a stop at each exit.

    good_shot: a track with a face of this quality needs no more, the rest of its faces is skipped.
    slowness: (N,) factors on the time of the n-th run; None: the table's own times.
    """
    state = _State(exits=[None] * len(arrivals))
    answered = np.full(len(arrivals), np.nan)
    free = [0.0] * speed.workers
    pending: list[tuple[float, int, int]] = []  # (time, arrival, place of the exit), not yet known
    good_tracks: set[int] = set()
    demand, pace, coming, runs, now = Demand(), LoadFactor(), 0, 0, 0.0
    while coming < len(arrivals) or state.waiting:
        now = max(now, heapq.heappop(free))
        if not state.waiting and coming < len(arrivals):
            now = max(now, arrivals[coming].time)
        while coming < len(arrivals) and arrivals[coming].time <= now:
            demand.arrive(arrivals[coming].time)
            arrival = arrivals[coming]
            state.waiting[coming] = WaitingFace(coming, arrival.time, arrival.deadline)
            coming += 1
        while pending and pending[0][0] <= now:
            _, which, place = heapq.heappop(pending)
            if quality[arrivals[which].face, place] >= good_shot:
                good_tracks.add(arrivals[which].track)
        waiting = [
            WaitingFace(w.id, w.arrived, w.deadline, arrivals[w.id].track in good_tracks)
            for w in state.waiting.values()
        ]
        grant = strategy(now, waiting, speed.scaled(pace.value), demand.rate(now))
        for number in (*grant.skipped, *grant.dropped, *grant.run):
            del state.waiting[number]
        state.skipped += len(grant.skipped)
        state.dropped += len(grant.dropped)
        end = now
        if grant.run:
            place = speed.exits.index(grant.exit)
            factor = 1.0 if slowness is None else float(slowness[runs % len(slowness)])
            predicted = speed.batch_seconds(place, len(grant.run))
            seconds = factor * predicted
            pace.observe(predicted, seconds)
            end, runs = now + seconds, runs + 1
            state.busy += seconds
            for number in grant.run:
                state.exits[number] = grant.exit
                answered[number] = end
                heapq.heappush(pending, (end, number, place))
        heapq.heappush(free, end)
    share = state.busy / (max([*free, 1e-9]) * speed.workers)
    return Outcome(state.exits, answered, state.skipped, state.dropped, share)


def summarise(
    arrivals: Sequence[Arrival], outcome: Outcome, quality: Floats, exits: Sequence[int]
) -> Summary:
    """See Summary. quality as for `simulate`."""
    place = {exit: column for column, exit in enumerate(exits)}
    done = [n for n, exit in enumerate(outcome.exits) if exit is not None]
    deadlines = np.array([arrival.deadline for arrival in arrivals])
    times = np.array([arrival.time for arrival in arrivals])
    rows = np.array([arrivals[n].face for n in done], np.intp)
    columns = np.array([place[outcome.exits[n] or 0] for n in done], np.intp)
    regret = np.abs(quality[rows, columns] - quality[rows, -1])
    in_time = outcome.answered <= deadlines
    late = np.isfinite(outcome.answered) & ~in_time
    lost, without = _track_regret(arrivals, outcome, quality, place)
    total = len(arrivals)
    return Summary(
        faces=total,
        in_time=float(in_time.mean()),
        misses=float(late.mean()),
        skipped=outcome.skipped / total,
        dropped=outcome.dropped / total,
        depth=float(np.mean([outcome.exits[n] for n in done])) if done else float("nan"),
        regret=float(regret.mean()) if done else float("nan"),
        tracks_regret=lost,
        unanswered_tracks=without,
        latency_p99_s=float(np.quantile((outcome.answered - times)[done], 0.99))
        if done
        else float("nan"),
        busy_share=outcome.busy_share,
    )


def _track_regret(
    arrivals: Sequence[Arrival], outcome: Outcome, quality: Floats, place: dict[int, int]
) -> tuple[float, float]:
    """(mean points lost by the shot chosen of a track, share of tracks without any shot)."""
    best: dict[int, float] = {}
    chosen: dict[int, tuple[float, float]] = {}  # track -> (estimated, true) of the best estimate
    for arrival, exit in zip(arrivals, outcome.exits, strict=True):
        true = float(quality[arrival.face, -1])
        best[arrival.track] = max(best.get(arrival.track, 0.0), true)
        if exit is not None:
            estimate = float(quality[arrival.face, place[exit]])
            chosen[arrival.track] = max(chosen.get(arrival.track, (-1.0, 0.0)), (estimate, true))
    lost = [best[track] - chosen.get(track, (0.0, 0.0))[1] for track in best]
    return float(np.mean(lost)), 1 - len(chosen) / len(best)
