"""The time and energy of each segment of an engine, measured."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from collections.abc import Callable
from functools import partial

from edge_fiqa.bundle.manifest import Costs, SegmentCost
from edge_fiqa.engines import LIBRARIES
from edge_fiqa.engines.base import Engine, Tokens, require_tokens
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.measurement.energy import Meter, energy_of, find_meter
from edge_fiqa.types import Bytes, Segment

LEAST_REPEATS = 5
LONG_S = 15.0  # after which no repeat begins that is not one of those
ROUTE_S = 0.5  # the same of a whole route that is measured by itself


def measure_costs(
    engine: Engine,
    repeats: int = 20,
    warm_up: int = 3,
    meter: Meter | None = None,
    *,
    release: bool = False,
) -> tuple[SegmentCost, ...]:
    """Median ms of each segment for one face, on the tokens of the bodies before it.

    repeats: at most; a network of which a repeat takes long gets fewer, but LEAST_REPEATS.
    With a meter also mJ, gross, of half a second of each segment.
    release: for an engine that is closed afterwards, and a large network. Whole routes hold each block
    many times over: they are measured one at a time, and their memory is given back. Without it all
    segments take turns, so that a slow moment of the machine hits them all.

    Every segment is timed with the caches as a face before it would leave them. So bodies are timed
    in a pass of bodies that follows another one, tails in passes of their own, and a segment that is
    a whole route by itself directly after a run of itself.
    """
    engine.prepare(faces=[1])
    bodies, face = _shortest_bodies(engine), synthetic_faces(1)
    others = sorted(engine.segments - set(bodies))
    routes = [segment for segment in others if release and segment.first == 1]
    others = [segment for segment in others if segment not in routes]
    times: dict[Segment, list[float]] = {segment: [] for segment in engine.segments}

    def steps() -> None:
        _timed_pass(engine, bodies, face, times, timed=[])  # fills the caches for the next pass
        _timed_pass(engine, bodies, face, times, timed=bodies)
        _timed_pass(engine, bodies, face, times, timed=others)

    _repeat(steps, repeats, warm_up, LONG_S)
    mj = {} if meter is None else _energy(engine, bodies, others, face, meter)
    done = engine.segments - set(routes)
    for route in routes:
        engine.release(done)
        _repeat(partial(_timed_run, engine, route, face, times), repeats, warm_up, ROUTE_S)
        if meter is not None:
            mj[route] = _gross_mj(engine, route, face, meter)
        done = {route}
    return tuple(
        SegmentCost(s.first, s.last, s.tail, round(statistics.median(ms[warm_up:]), 4), mj.get(s))
        for s, ms in sorted(times.items())
    )


def _repeat(work: Callable[[], object], repeats: int, warm_up: int, long_s: float) -> None:
    """Warm up and repeat; after so many seconds only what is left of LEAST_REPEATS."""
    start_s = time.perf_counter()
    for repeat in range(repeats + warm_up):
        if repeat >= warm_up + LEAST_REPEATS and time.perf_counter() - start_s > long_s:
            return
        work()


def measured_costs(engine: Engine, *, release: bool = False) -> Costs:
    """The cost table of this engine as a manifest keeps it, with energy where there is a meter.

    release: as in `measure_costs`.
    """
    meter, _ = find_meter(engine.device)
    try:
        segments = measure_costs(engine, meter=meter, release=release)
    finally:
        if meter is not None:
            meter.close()
    return Costs(engine.device, engine.backend, library_version(engine), engine.threads, segments)


def library_version(engine: Engine) -> str:
    """Of what computes. Python sees no metadata of JetPack's apt packages: there the engine knows."""
    version = getattr(engine, "version", None)
    return str(version or importlib.metadata.version(LIBRARIES[engine.backend]))


def _energy(
    engine: Engine, bodies: list[Segment], others: list[Segment], face: Bytes, meter: Meter
) -> dict[Segment, float]:
    """Gross mJ of these segments, each where its tokens are."""
    mj: dict[Segment, float] = {}
    x: Bytes | Tokens = face
    for body in bodies:
        for segment in [s for s in (body, *others) if s.first == body.first]:
            mj[segment] = _gross_mj(engine, segment, x, meter)
        if body is not bodies[-1]:
            x = require_tokens(engine.run(body, x)[0])
    return mj


def _gross_mj(engine: Engine, segment: Segment, x: Bytes | Tokens, meter: Meter) -> float:
    return round(energy_of(meter, partial(engine.run, segment, x), seconds=0.5).gross_mj, 4)


def cost_table(engine: Engine, repeats: int = 10) -> CostTable:
    """The cost table of this engine, measured now."""
    rows = measure_costs(engine, repeats)
    ms = {Segment(row.first, row.last, row.tail): row.ms for row in rows}
    return CostTable.of(engine.config, engine.segments, ms)


def _shortest_bodies(engine: Engine) -> list[Segment]:
    """The shortest bodies, one after the other, through the whole network."""
    chain: list[Segment] = []
    bodies = [segment for segment in engine.segments if not segment.tail]
    while following := [b for b in bodies if b.first == (chain[-1].last if chain else 0) + 1]:
        chain.append(min(following, key=lambda body: body.last))
    return chain


def _timed_pass(
    engine: Engine,
    bodies: list[Segment],
    face: Bytes,
    times: dict[Segment, list[float]],
    timed: list[Segment],
) -> None:
    """Run all bodies, and the segments of `timed` where their tokens are; time those of `timed`."""
    x: Bytes | Tokens = face
    for body in bodies:
        for segment in (s for s in timed if s.first == body.first and s is not body):
            if segment.first == 1:  # a whole route: the face before it ran the same segment
                engine.run(segment, x)
            _timed_run(engine, segment, x, times)
        x = require_tokens(
            _timed_run(engine, body, x, times) if body in timed else engine.run(body, x)[0]
        )


def _timed_run(
    engine: Engine, segment: Segment, x: Bytes | Tokens, times: dict[Segment, list[float]]
) -> Tokens | None:
    start = time.perf_counter()
    tokens = engine.run(segment, x).tokens
    times[segment].append(1e3 * (time.perf_counter() - start))
    return tokens
