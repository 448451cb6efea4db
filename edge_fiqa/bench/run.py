"""The table: exit x batch x bundle x engine, all in turn within one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import msgspec

from edge_fiqa.bench.environment import environment
from edge_fiqa.bench.libraries import Product, fastest_product
from edge_fiqa.bench.peak_memory import peak_memory
from edge_fiqa.bench.result import BenchResult, BenchRow, Peak, Power, Way
from edge_fiqa.bench.timing import USUAL, Effort, Times, in_rounds
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.measurement.energy import Energy, energy_of, find_meter, idle_watts
from edge_fiqa.policies.policy import Convergence, Fixed, Policy
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.types import Bytes, FaceSet

NEVER_STOPS = Convergence(eps=1e-30)  # asked after every segment
PeakKey = tuple[str, str, int]


@dataclass(frozen=True)
class BenchPlan:
    """What to measure. exits None: all. backends empty: each bundle's own. ways: see `BenchRow`."""

    exits: Sequence[int] | None = None
    batches: Sequence[int] = (1,)
    backends: Sequence[str] = ()
    ways: Sequence[Way] = ("one",)
    threads: int | None = None
    effort: Effort = USUAL
    memory: bool = True
    energy_s: float = 1.0


@dataclass(frozen=True)
class _Case:
    bundle: Bundle
    controller: Controller
    exit: int
    batch: int
    way: Way

    @property
    def engine(self) -> Engine:
        return self.controller.engine

    @property
    def policies(self) -> list[Policy]:
        return [Fixed(self.exit), NEVER_STOPS] if self.way == "steps" else [Fixed(self.exit)]

    @property
    def name(self) -> str:
        return "|".join(map(str, (*self.peak, id(self.bundle), self.exit, self.batch, self.way)))

    @property
    def peak(self) -> PeakKey:
        return self.engine.backend, self.bundle.manifest.precision, self.engine.threads

    def run(self, faces: Bytes) -> Callable[[], object]:
        batch = faces[[n % len(faces) for n in range(self.batch)]]
        return partial(self.controller.assess, batch, self.policies)


def run_benchmark(bundles: Sequence[Bundle], plan: BenchPlan, faces: FaceSet) -> BenchResult:
    """Raises ConfigError for an exit that no bundle has, BackendMissing for an absent library."""
    if any(batch < 1 for batch in plan.batches) or not len(faces.crops):
        raise ConfigError("a benchmark needs faces, in batches of at least 1")
    machine = environment()
    with ExitStack() as stack:
        cases = _cases(bundles, plan, stack)
        for case in cases:
            case.controller.prepare(case.policies, case.batch)
        products, reasons = _products(cases)
        runs = {case.name: case.run(faces.crops) for case in cases}
        peak_runs = {f"peak {key}": product.run for key, product in products.items()}
        times = in_rounds(runs | peak_runs, plan.effort)
        rates = {
            key: product.gflop / (1e-3 * float(min(times[f"peak {key}"].rounds)))
            for key, product in products.items()
        }
        power, energies = _energies(cases[0].engine.device, runs, plan.energy_s, stack)
        rows = [
            _row(case, times[case.name], rates.get(case.peak), energies.get(case.name))
            for case in cases
        ]
    if plan.memory:
        rows = [_with_memory(row, case, plan) for row, case in zip(rows, cases, strict=True)]
    return BenchResult(
        faces=faces.described,
        environment=machine,
        power=power,
        peaks=tuple(_peak(key, products.get(key), rates.get(key), reasons[key]) for key in reasons),
        rows=tuple(rows),
    )


def _energies(
    device: str, runs: Mapping[str, Callable[[], object]], seconds: float, stack: ExitStack
) -> tuple[Power, dict[str, Energy]]:
    """The meter, and the energy of every run; empty where there is no meter."""
    meter, reason = find_meter(device)
    if meter is None:
        return Power(None, None, reason), {}
    stack.callback(meter.close)
    idle = idle_watts(meter)
    energies = {name: energy_of(meter, run, idle, seconds) for name, run in runs.items()}
    return Power(meter.name, round(idle, 3), None), energies


def _peak(key: PeakKey, product: Product | None, rate: float | None, reason: str) -> Peak:
    """reason: for there being no product."""
    if product is None or rate is None:
        return Peak(*key, None, None, reason)
    return Peak(*key, product.shape, round(rate, 1), None)


def _cases(bundles: Sequence[Bundle], plan: BenchPlan, stack: ExitStack) -> list[_Case]:
    cases = []
    for bundle in bundles:
        for backend in plan.backends or (available_backend(bundle),):
            engine = stack.enter_context(open_engine(bundle, backend, plan.threads))
            controller = Controller(engine, bundle.costs)
            for depth in plan.exits or controller.exits:
                Fixed(depth).limit(controller.forecast())  # says which exits there are
                cases += [
                    _Case(bundle, controller, depth, batch, way)
                    for batch in plan.batches
                    for way in plan.ways
                ]
    return cases


def _products(cases: Sequence[_Case]) -> tuple[dict[PeakKey, Product], dict[PeakKey, str]]:
    """The product of every library and precision; and for each the reason for having none, or ""."""
    products: dict[PeakKey, Product] = {}
    reasons: dict[PeakKey, str] = {}
    for case in cases:
        key = case.peak
        if key in reasons:
            continue
        try:
            precision = case.bundle.manifest.precision
            products[key] = fastest_product(key[0], precision, key[2], case.engine.device)
            reasons[key] = ""
        except BackendMissing as exc:
            reasons[key] = str(exc)
    return products, reasons


def _row(case: _Case, times: Times, peak: float | None, energy: Energy | None) -> BenchRow:
    p50, p90, p99 = (times.percentile(q) for q in (50, 90, 99))
    assert p50 is not None
    assert p90 is not None
    steps = case.controller.route(case.exit, case.policies)
    gflops = case.controller.costs.gflops_of(steps)
    rate = 1e3 * case.batch * gflops / p50
    net = None if energy is None or energy.net_mj is None else energy.net_mj / case.batch
    return BenchRow(
        bundle=case.bundle.manifest.name,
        fingerprint=case.bundle.manifest.fingerprint,
        backend=case.engine.backend,
        device=case.engine.device.strip(),
        threads=case.engine.threads,
        precision=case.bundle.manifest.precision,
        exit=case.exit,
        batch=case.batch,
        way=case.way,
        p50_ms=round(p50, 4),
        p90_ms=round(p90, 4),
        p99_ms=None if p99 is None else round(p99, 4),
        faces_per_s=round(1e3 * case.batch / p50, 2),
        gflops=round(gflops, 5),
        gflops_per_s=round(rate, 2),
        peak_share=None if peak is None else round(rate / peak, 4),
        peak_mb=None,
        device_mb=None,
        gross_mj=None if energy is None else round(energy.gross_mj / case.batch, 4),
        net_mj=None if net is None else round(net, 4),
        round_ms=tuple(round(float(ms), 4) for ms in times.rounds),
    )


def _with_memory(row: BenchRow, case: _Case, plan: BenchPlan) -> BenchRow:
    resident, device = peak_memory(
        case.bundle.folder, row.backend, plan.threads, case.policies, case.batch
    )
    return msgspec.structs.replace(row, peak_mb=resident, device_mb=device)
