"""One route without a pause, for minutes: does the machine become slower as it becomes warm?"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from edge_fiqa.bench.conditions import Conditions, read_conditions
from edge_fiqa.bench.environment import environment
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import FaceSet

SCHEMA: Final = "edge-fiqa-endurance/1"
INTERVALS = 60
THROTTLED = 1.05  # slower than at the start by more than this is no noise of ten seconds


class Interval(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """at_s: its end, from the start. Clocks and temperature at its end; None where not known."""

    at_s: float
    calls: int
    p50_ms: float
    p99_ms: float
    cpu_mhz: int | None
    gpu_mhz: int | None
    temperature_c: float | None


class EnduranceResult(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """slowdown: median ms of the last tenth of the intervals over that of the first tenth."""

    schema: Literal["edge-fiqa-endurance/1"] = SCHEMA
    bundle: str
    backend: str
    precision: str
    threads: int
    exit: int
    batch: int
    environment: dict[str, Any]
    intervals: tuple[Interval, ...]
    slowdown: float

    @property
    def throttled(self) -> bool:
        return self.slowdown > THROTTLED


def run_endurance(
    bundle: Bundle, backend: str, threads: int | None, depth: int, faces: FaceSet, seconds: float
) -> EnduranceResult:
    """Scores `faces` as one batch at exit `depth`, again and again. Raises ConfigError for no time."""
    if not seconds > 0:
        raise ConfigError(f"a run of {seconds:g} seconds measures nothing")
    machine = environment()
    with open_engine(bundle, backend, threads) as engine:
        controller, policies = Controller(engine, bundle.costs), [Fixed(depth)]
        controller.prepare(policies, len(faces.crops))
        intervals = measure(lambda: controller.assess(faces.crops, policies), seconds)
        return EnduranceResult(
            bundle=bundle.manifest.name,
            backend=engine.backend,
            precision=bundle.manifest.precision,
            threads=engine.threads,
            exit=depth,
            batch=len(faces.crops),
            environment=machine,
            intervals=intervals,
            slowdown=slowdown([interval.p50_ms for interval in intervals]),
        )


def measure(
    work: Callable[[], object],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    conditions: Callable[[], Conditions] = read_conditions,
) -> tuple[Interval, ...]:
    """INTERVALS of `work`, called without a pause; each has at least one call."""
    start, intervals = clock(), []
    for number in range(1, INTERVALS + 1):
        ms: list[float] = []
        while not ms or clock() - start < seconds * number / INTERVALS:
            before = clock()
            work()
            ms.append(1e3 * (clock() - before))
        now = conditions()
        intervals.append(
            Interval(
                at_s=round(clock() - start, 2),
                calls=len(ms),
                p50_ms=round(float(np.median(ms)), 4),
                p99_ms=round(float(np.percentile(ms, 99)), 4),
                cpu_mhz=now.cpu_mhz,
                gpu_mhz=now.gpu_mhz,
                temperature_c=now.temperature_c,
            )
        )
    return tuple(intervals)


def slowdown(p50_ms: list[float]) -> float:
    """Median of the last tenth over that of the first tenth, at least one of each."""
    tenth = max(1, len(p50_ms) // 10)
    return round(float(np.median(p50_ms[-tenth:]) / np.median(p50_ms[:tenth])), 4)


def plot(result: EnduranceResult, target: Path) -> None:
    """ms above, clock and temperature below, against minutes. As `report.plot`."""
    from edge_fiqa.bench.report import new_figure, save_figure

    figure = new_figure((8, 5.5))
    upper, lower = figure.subplots(2, 1, sharex=True)
    minutes = [interval.at_s / 60 for interval in result.intervals]
    upper.plot(minutes, [i.p50_ms for i in result.intervals], label="median")
    upper.plot(minutes, [i.p99_ms for i in result.intervals], lw=0.8, label="99 %")
    upper.set(ylabel=f"ms, batch {result.batch}, exit {result.exit}", ylim=(0, None))
    upper.legend(fontsize=8)
    lower.plot(minutes, [i.cpu_mhz or float("nan") for i in result.intervals], label="CPU MHz")
    lower.plot(minutes, [i.gpu_mhz or float("nan") for i in result.intervals], label="GPU MHz")
    lower.set(xlabel="minutes", ylabel="MHz", ylim=(0, None))
    lower.legend(fontsize=8, loc="lower left")
    warmth = lower.twinx()
    warmth.plot(
        minutes, [i.temperature_c or float("nan") for i in result.intervals], color="#b2182b"
    )
    warmth.set_ylabel("degrees C", color="#b2182b")
    name = f"{result.environment.get('board') or result.environment.get('cpu')}, {result.bundle}"
    figure.suptitle(f"{name}: {result.slowdown:.2f} times the first minute's ms", fontsize=10)
    save_figure(figure, target)
