"""The whole of it: plan -> looks at every face, once -> rows, averages, operating points."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from msgspec import Struct

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.engines.base import Engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.evaluation.report.measured_cache import look_at
from edge_fiqa.evaluation.report.measures import (
    Measure,
    bundle_measure,
    network_measure,
    open_bundle_engine,
    pixel_measure,
)
from edge_fiqa.evaluation.report.operating_points import OperatingPoint, Stop, recommend
from edge_fiqa.evaluation.report.plan import (
    EvaluationPlan,
    baseline_name,
    data_name,
    recogniser_name,
)
from edge_fiqa.evaluation.report.precomputed import given_embeddings, given_scores
from edge_fiqa.evaluation.report.rows import Cell, WorthRow, averages, measure
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.segment_costs import cost_table
from edge_fiqa.types import Array, Floats

NORM = "embedding norm"


class SetInfo(Struct, frozen=True):
    name: str
    faces: int
    mated: int
    non_mated: int
    identities: int | None
    notes: tuple[str, ...]


class BundleInfo(Struct, frozen=True):
    """stops: by exit; points: recommended ones; device: where the ms come from."""

    name: str
    model: str
    fingerprint: str
    precision: str
    device: str
    measured_now: bool
    stops: tuple[Stop, ...]
    points: tuple[OperatingPoint, ...]


class Evaluation(Struct, frozen=True, kw_only=True):
    title: str
    version: str
    limit: float
    resamples: int
    fmr: tuple[float, ...]
    sets: tuple[SetInfo, ...]
    bundles: tuple[BundleInfo, ...]
    averages: dict[str, dict[str, float]]  # "group, FMR 0.01" -> quality -> mean relative pAUC
    cells: tuple[Cell, ...]
    rows: tuple[WorthRow, ...]


class _Opened:
    """One bundle, ready to look, and what its numbers become."""

    def __init__(self, told: str, root: Path, threads: int | None, stack: ExitStack) -> None:
        self.name = Path(told).name
        folder = root / told
        self.bundle = Bundle.open(folder if folder.is_dir() else told)
        self.engine: Engine = stack.enter_context(open_bundle_engine(self.bundle, threads))
        self.look = bundle_measure(self.name, self.bundle, self.engine)

    def qualities(self, trail: Array) -> dict[str, Floats]:
        """(N, E) -> every exit, the papers' F and FW, and what a stop at an exit would report:
        the calibrated estimate of full depth, and the 0-100 quality."""
        depth = trail.shape[1]
        found = {f"{self.name} exit {k + 1}": trail[:, k] for k in range(depth)}
        found |= {f"{self.name} {rule}": fuse(trail, depth, rule) for rule in ("F", "FW")}
        calibration, estimator = self.bundle.calibration, None
        if calibration is not None and "FW" in calibration.rules:
            estimator = Estimator.of(calibration, "FW")
        for k in self.bundle.manifest.exits:
            fused = fuse(trail, k)
            found[f"{self.name} stop {k}"] = estimator.estimate(fused, k) if estimator else fused
        if estimator is not None:
            full = fuse(trail, depth)
            known = np.isfinite(full)
            points = estimator.scale.quality(np.where(known, full, 0))
            found[f"{self.name} 0-100"] = np.where(known, points, np.nan)
        return {name: values.astype(np.float64) for name, values in found.items()}

    def info(self, rows: Sequence[WorthRow], fmr: float, now: bool) -> BundleInfo:
        """Stops are judged at one FMR, by the mean over data sets and recognisers."""
        manifest = self.bundle.manifest
        costs: CostTable = cost_table(self.engine) if now else self.bundle.costs
        told, stops = manifest.costs, []
        for k in manifest.exits:
            name = f"{self.name} stop {k}"
            own = [r.relative for r in rows if r.quality == name and r.fmr == fmr]
            known = [value for value in own if value is not None]
            if known:
                route = route_to(self.bundle.segments, k)
                stops.append(
                    Stop(k, float(np.mean(known)), costs.gflops_of(route), costs.ms_of(route))
                )
        device, threads = (
            (self.engine.device, self.engine.threads) if now else (told.device, told.threads)
        )
        return BundleInfo(
            self.name,
            manifest.name,
            manifest.fingerprint,
            manifest.precision,
            f"{device.strip()}, {self.engine.backend if now else told.backend}, {threads} threads",
            now,
            tuple(stops),
            tuple(recommend(stops)),
        )


def run_evaluation(
    plan: EvaluationPlan, root: Path, cache: Path, version: str, threads: int | None = None
) -> Evaluation:
    """Paths in the plan are below `root`. threads: of each model (default: its own).

    Raises EdgeFiqaError with one clear line.
    """
    sets = [
        open_pairs(root / data.path, root / data.faces if data.faces else None, data_name(data))
        for data in plan.data
    ]
    with ExitStack() as stack:
        bundles = [_Opened(told, root, threads, stack) for told in plan.bundles]
        looks = [bundle.look for bundle in bundles]
        looks += [
            network_measure(f"recogniser {recogniser_name(one)}", one.recogniser(root, threads))
            for one in plan.recognisers
            if one.path
        ]
        for other in plan.baselines:
            name = baseline_name(other)
            if other.path:
                looks.append(network_measure(name, other.recogniser(root, threads)))
            elif other.measure:
                pixels = pixel_measure(other.measure)
                looks.append(Measure(name, pixels.key, pixels.see))
        infos: list[SetInfo] = []
        cells: list[Cell] = []
        rows: list[WorthRow] = []
        for pairs in sets:
            seen, notes = look_at(pairs.faces, looks, cache, pairs.name)
            infos.append(_info(pairs, notes))
            qualities: dict[str, Floats] = {}
            for bundle in bundles:
                qualities |= bundle.qualities(seen[bundle.name])
            qualities |= _baselines(plan, root, pairs, seen)
            more_cells, more_rows = _of_set(plan, root, pairs, seen, qualities)
            cells += more_cells
            rows += more_rows
        if not rows:
            raise ConfigError(f"nothing is resolved: {cells[0].data}: {cells[0].unresolved}")
        judged = max(row.fmr for row in rows)
        described = tuple(bundle.info(rows, judged, plan.measure) for bundle in bundles)
    return Evaluation(
        title=plan.title,
        version=version,
        limit=plan.limit,
        resamples=plan.resamples,
        fmr=plan.fmr,
        sets=tuple(infos),
        bundles=described,
        averages={f"{group}, FMR {fmr:g}": v for (group, fmr), v in averages(rows).items()},
        cells=tuple(cells),
        rows=tuple(rows),
    )


def _of_set(
    plan: EvaluationPlan,
    root: Path,
    pairs: FacePairs,
    seen: dict[str, Array],
    qualities: dict[str, Floats],
) -> tuple[list[Cell], list[WorthRow]]:
    cells: list[Cell] = []
    rows: list[WorthRow] = []
    of_pairs = {name: pairs.pair_quality(values) for name, values in qualities.items()}
    curves = [name for name in qualities if " exit " not in name and " stop " not in name]
    for one in plan.recognisers:
        name = recogniser_name(one)
        if one.path:
            embeddings = seen[f"recogniser {name}"]
        else:
            embeddings = given_embeddings(one.embeddings, pairs, root, name)
        length = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        own = dict(of_pairs)
        if np.nanstd(length) > 1e-3 * np.nanmean(length):  # not normalised beforehand
            own[NORM] = pairs.pair_quality(length)
        found = measure(
            pairs,
            name,
            one.group,
            pairs.similarity(embeddings),
            own,
            fmrs=plan.fmr,
            limit=plan.limit,
            resamples=plan.resamples,
            curves_of=[*curves, NORM],
        )
        cells += found[0]
        rows += found[1]
    return cells, rows


def _baselines(
    plan: EvaluationPlan, root: Path, pairs: FacePairs, seen: dict[str, Array]
) -> dict[str, Floats]:
    found = {}
    for other in plan.baselines:
        name = baseline_name(other)
        if other.scores:
            values = given_scores(other.scores, pairs, root, name)
        elif seen[name].shape[1] != 1:
            raise ConfigError(
                f"{other.path}: a quality network has one output, this has {seen[name].shape[1]}"
            )
        else:
            values = seen[name][:, 0].astype(np.float64)
        found[name] = -values if other.lower_is_better else values
    return found


def _info(pairs: FacePairs, notes: tuple[str, ...]) -> SetInfo:
    people = None if pairs.identity is None else len(set(pairs.identity[pairs.same].tolist()))
    said = list(pairs.notes + notes)
    if people is None:
        said.append("no identities: intervals take pairs as independent and are too narrow")
    mated = int(pairs.same.sum())
    return SetInfo(
        pairs.name, len(pairs.faces), mated, pairs.same.size - mated, people, tuple(said)
    )
