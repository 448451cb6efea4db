"""The time and energy of each segment of an engine, measured."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from functools import partial

from edge_fiqa.bundle.manifest import Costs, SegmentCost
from edge_fiqa.engines import LIBRARIES
from edge_fiqa.engines.base import Engine, Tokens, behind
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.measurement.energy import Meter, energy_of, find_meter
from edge_fiqa.types import Bytes, Segment


def measure_costs(
    engine: Engine, repeats: int = 20, warm_up: int = 3, meter: Meter | None = None
) -> tuple[SegmentCost, ...]:
    """Median ms of each segment for one face, run where it stands: behind the bodies before it.

    With a meter also mJ, gross, of half a second of each segment.

    Bodies are timed in a plain pass after another one, tails in passes of their own, and what is a
    whole route by itself after itself: each finds the caches that the face before it would leave.
    """
    engine.prepare(faces=[1])
    chain = _chain(engine)
    others = sorted(engine.segments - set(chain))
    times: dict[Segment, list[float]] = {segment: [] for segment in engine.segments}
    face = synthetic_faces(1)
    for _ in range(repeats + warm_up):
        _timed_pass(engine, chain, face, times, timed=[])  # as warm as the face before leaves it
        _timed_pass(engine, chain, face, times, timed=chain)
        _timed_pass(engine, chain, face, times, timed=others)
    mj = {} if meter is None else _energy(engine, chain, face, meter)
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
    # An apt package of JetPack has no metadata that Python knows: there the engine says it.
    said: str | None = getattr(engine, "version", None)
    version = said or importlib.metadata.version(LIBRARIES[engine.backend])
    return Costs(engine.device, engine.backend, version, engine.threads, segments)


def _energy(
    engine: Engine, chain: list[Segment], face: Bytes, meter: Meter
) -> dict[Segment, float]:
    found: dict[Segment, float] = {}
    x: Bytes | Tokens = face
    for body in chain:
        for segment in sorted(s for s in engine.segments if s.first == body.first):
            work = partial(engine.run, segment, x)
            found[segment] = round(energy_of(meter, work, seconds=0.5).gross_mj, 4)
        if body is not chain[-1]:
            x = behind(engine.run(body, x)[0])
    return found


def cost_table(engine: Engine, repeats: int = 10) -> CostTable:
    """The cost table of this engine, measured now."""
    rows = measure_costs(engine, repeats)
    ms = {Segment(row.first, row.last, row.tail): row.ms for row in rows}
    return CostTable.of(engine.config, engine.segments, ms)


def _chain(engine: Engine) -> list[Segment]:
    """The shortest bodies, one behind the other, through the whole network."""
    chain: list[Segment] = []
    bodies = [segment for segment in engine.segments if not segment.tail]
    while onward := [b for b in bodies if b.first == (chain[-1].last if chain else 0) + 1]:
        chain.append(min(onward, key=lambda b: b.last))
    return chain


def _timed_pass(
    engine: Engine,
    chain: list[Segment],
    face: Bytes,
    times: dict[Segment, list[float]],
    timed: list[Segment],
) -> None:
    x: Bytes | Tokens = face
    for body in chain:
        for segment in (s for s in timed if s.first == body.first and s is not body):
            if segment.first == 1:  # a whole route: the face before went the same way
                engine.run(segment, x)
            _timed_run(engine, segment, x, times)
        x = behind(_timed_run(engine, body, x, times) if body in timed else engine.run(body, x)[0])


def _timed_run(
    engine: Engine, segment: Segment, x: Bytes | Tokens, times: dict[Segment, list[float]]
) -> Tokens | None:
    start = time.perf_counter()
    tokens, _ = engine.run(segment, x)
    times[segment].append(1e3 * (time.perf_counter() - start))
    return tokens
