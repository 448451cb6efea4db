"""A bundle under evaluation: its scores of a data set's faces, and what its exits are worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from msgspec import Struct

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.engines.base import Engine
from edge_fiqa.errors import counted
from edge_fiqa.evaluation.report.extractors import bundle_extractor, open_bundle_engine
from edge_fiqa.evaluation.report.operating_points import OperatingPoint, Stop, recommend
from edge_fiqa.evaluation.report.rows import WorthRow
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.segment_costs import cost_table
from edge_fiqa.types import Array, Floats


class BundleInfo(Struct, frozen=True):
    """stops: by exit. points: recommended operating points. device: where the ms come from."""

    name: str
    model: str
    fingerprint: str
    precision: str
    device: str
    measured_now: bool
    stops: tuple[Stop, ...]
    points: tuple[OperatingPoint, ...]


class EvaluatedBundle:
    """location: a folder below `root`, or a shipped model's name. The stack closes the engine."""

    def __init__(self, location: str, root: Path, threads: int | None, stack: ExitStack) -> None:
        self.name = Path(location).name
        folder = root / location
        self.bundle = Bundle.open(folder if folder.is_dir() else location)
        self.engine: Engine = stack.enter_context(open_bundle_engine(self.bundle, threads))
        self.extractor = bundle_extractor(self.name, self.bundle, self.engine)

    def qualities(self, trail: Array) -> dict[str, Floats]:
        """(N, E) complete trails -> name -> (N,) qualities, NaN where a face has none.

        Every exit alone; the papers' fusions F and FW; what a stop at an exit reports (the calibrated
        estimate of full depth); and the 0-100 quality.
        """
        depth, estimator = trail.shape[1], self._estimator()
        qualities = {f"{self.name} exit {k + 1}": trail[:, k] for k in range(depth)}
        qualities |= {f"{self.name} {rule}": fuse(trail, depth, rule) for rule in ("F", "FW")}
        for k in self.bundle.manifest.exits:
            fused = fuse(trail, k)
            estimate = fused if estimator is None else estimator.estimate(fused, k)
            qualities[f"{self.name} stop {k}"] = estimate
        if estimator is not None:
            full = fuse(trail, depth)
            finite = np.isfinite(full)
            quality = estimator.scale.quality(np.where(finite, full, 0))
            qualities[f"{self.name} 0-100"] = np.where(finite, quality, np.nan)
        return {name: values.astype(np.float64) for name, values in qualities.items()}

    def info(self, rows: Sequence[WorthRow], fmr: float, measure_now: bool) -> BundleInfo:
        """The worth of every stop at one FMR, and the operating points that follow from it."""
        manifest = self.bundle.manifest
        costs: CostTable = cost_table(self.engine) if measure_now else self.bundle.costs
        stops = tuple(self._stops([row for row in rows if row.fmr == fmr], costs))
        return BundleInfo(
            self.name,
            manifest.name,
            manifest.fingerprint,
            manifest.precision,
            self._device(measure_now),
            measure_now,
            stops,
            tuple(recommend(stops)),
        )

    def _estimator(self) -> Estimator | None:
        calibration = self.bundle.calibration
        if calibration is None or "FW" not in calibration.rules:
            return None
        return Estimator.of(calibration, "FW")

    def _stops(self, rows: Sequence[WorthRow], costs: CostTable) -> Iterable[Stop]:
        """Exits that have a number, with the mean over data sets and recognisers."""
        for k in self.bundle.manifest.exits:
            own = [row.relative for row in rows if row.quality == f"{self.name} stop {k}"]
            relative = [value for value in own if value is not None]
            if relative:
                route = route_to(self.bundle.segments, k)
                yield Stop(k, float(np.mean(relative)), costs.gflops_of(route), costs.ms_of(route))

    def _device(self, measure_now: bool) -> str:
        """Of the engine that runs here, or of the one that the bundle's cost table was made on."""
        source = self.engine if measure_now else self.bundle.manifest.costs
        return f"{source.device.strip()}, {source.backend}, {counted(source.threads, 'thread')}"
