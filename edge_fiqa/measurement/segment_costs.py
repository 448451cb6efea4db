"""The time and energy of each segment of an engine, measured."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
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


def measure_costs(
    engine: Engine, repeats: int = 20, warm_up: int = 3, meter: Meter | None = None
) -> tuple[SegmentCost, ...]:
    """Median ms of each segment for one face, on the tokens of the bodies before it.

    repeats: at most; a network of which a repeat takes long gets fewer, but LEAST_REPEATS.
    With a meter also mJ, gross, of half a second of each segment.

    Every segment is timed with the caches as a face before it would leave them. So bodies are timed
    in a pass of bodies that follows another one, tails in passes of their own, and a segment that is
    a whole route by itself directly after a run of itself.
    """
    engine.prepare(faces=[1])
    bodies = _shortest_bodies(engine)
    others = sorted(engine.segments - set(bodies))
    times: dict[Segment, list[float]] = {segment: [] for segment in engine.segments}
    face = synthetic_faces(1)
    start_s = time.perf_counter()
    for repeat in range(repeats + warm_up):
        if repeat >= warm_up + LEAST_REPEATS and time.perf_counter() - start_s > LONG_S:
            break
        _timed_pass(engine, bodies, face, times, timed=[])  # fills the caches for the next pass
        _timed_pass(engine, bodies, face, times, timed=bodies)
        _timed_pass(engine, bodies, face, times, timed=others)
    mj = {} if meter is None else _energy(engine, bodies, face, meter)
    return tuple(
        SegmentCost(s.first, s.last, s.tail, round(statistics.median(ms[warm_up:]), 4), mj.get(s))
        for s, ms in sorted(times.items())
    )


def measured_costs(engine: Engine) -> Costs:
    """The cost table of this engine as a manifest keeps it, with energy where there is a meter."""
    meter, _ = find_meter(engine.device)
    try:
        segments = measure_costs(engine, meter=meter)
    finally:
        if meter is not None:
            meter.close()
    return Costs(engine.device, engine.backend, library_version(engine), engine.threads, segments)


def library_version(engine: Engine) -> str:
    """Of what computes. Python sees no metadata of JetPack's apt packages: there the engine knows."""
    version = getattr(engine, "version", None)
    return str(version or importlib.metadata.version(LIBRARIES[engine.backend]))


def _energy(
    engine: Engine, bodies: list[Segment], face: Bytes, meter: Meter
) -> dict[Segment, float]:
    """Gross mJ of every segment."""
    mj: dict[Segment, float] = {}
    x: Bytes | Tokens = face
    for body in bodies:
        for segment in sorted(s for s in engine.segments if s.first == body.first):
            work = partial(engine.run, segment, x)
            mj[segment] = round(energy_of(meter, work, seconds=0.5).gross_mj, 4)
        if body is not bodies[-1]:
            x = require_tokens(engine.run(body, x)[0])
    return mj


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
    tokens, _ = engine.run(segment, x)
    times[segment].append(1e3 * (time.perf_counter() - start))
    return tokens
