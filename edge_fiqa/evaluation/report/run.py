"""The whole evaluation: plan -> features of every face -> rows, averages, operating points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec import Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.evaluation.report.evaluated_bundle import BundleInfo, EvaluatedBundle
from edge_fiqa.evaluation.report.extractors import (
    FeatureExtractor,
    network_extractor,
    pixel_extractor,
)
from edge_fiqa.evaluation.report.feature_cache import extract_features
from edge_fiqa.evaluation.report.plan import (
    EvaluationPlan,
    PlannedData,
    PlannedRecogniser,
    baseline_name,
    data_name,
    recogniser_name,
)
from edge_fiqa.evaluation.report.precomputed import (
    precomputed_embeddings,
    precomputed_scores,
    precomputed_trails,
)
from edge_fiqa.evaluation.report.rows import Cell, WorthRow, averages, evaluate_qualities
from edge_fiqa.types import Array, Floats

NORM = "embedding norm"


class DataSetInfo(Struct, frozen=True):
    name: str
    faces: int
    mated: int
    non_mated: int
    identities: int | None
    notes: tuple[str, ...]


class Evaluation(Struct, frozen=True, kw_only=True):
    """The result. averages: "group, FMR 0.01" -> quality -> mean relative pAUC."""

    title: str
    version: str
    limit: float
    resamples: int
    fmr: tuple[float, ...]
    sets: tuple[DataSetInfo, ...]
    bundles: tuple[BundleInfo, ...]
    averages: dict[str, dict[str, float]]
    cells: tuple[Cell, ...]
    rows: tuple[WorthRow, ...]


def run_evaluation(
    plan: EvaluationPlan, root: Path, cache: Path, version: str, threads: int | None = None
) -> Evaluation:
    """Paths in the plan are below `root`. threads: of each model (default: its own).

    Raises EdgeFiqaError with one clear line.
    """
    data_sets = [open_planned(data, root) for data in plan.data]
    infos: list[DataSetInfo] = []
    cells: list[Cell] = []
    rows: list[WorthRow] = []
    with ExitStack() as stack:
        bundles = [EvaluatedBundle(name, root, threads, stack) for name in plan.bundles]
        extractors = [bundle.extractor for bundle in bundles]
        extractors += _planned_extractors(plan, root, threads)
        for pairs in data_sets:
            stored = _stored_features(plan, root, pairs, bundles)
            others = [extractor for extractor in extractors if extractor.name not in stored]
            features, notes = extract_features(pairs.faces, others, cache, pairs.name)
            features |= stored
            infos.append(_data_set_info(pairs, notes))
            data_set = _DataSet(plan, root, pairs, features)
            more_cells, more_rows = data_set.evaluate(data_set.qualities(bundles))
            cells += more_cells
            rows += more_rows
        if not rows:
            raise ConfigError(f"nothing is resolved: {cells[0].data}: {cells[0].unresolved}")
        largest_fmr = max(row.fmr for row in rows)
        bundle_infos = [bundle.info(rows, largest_fmr, plan.measure) for bundle in bundles]
    return Evaluation(
        title=plan.title,
        version=version,
        limit=plan.limit,
        resamples=plan.resamples,
        fmr=plan.fmr,
        sets=tuple(infos),
        bundles=tuple(bundle_infos),
        averages={f"{group}, FMR {fmr:g}": v for (group, fmr), v in averages(rows).items()},
        cells=tuple(cells),
        rows=tuple(rows),
    )


def _stored_features(
    plan: EvaluationPlan, root: Path, pairs: FacePairs, bundles: Sequence[EvaluatedBundle]
) -> dict[str, Array]:
    """Bundle's name -> (N, E) trails of this data set, where the plan names records of it."""
    return {
        bundle.name: precomputed_trails(files[pairs.name], root, pairs, bundle.bundle)
        for bundle in bundles
        if pairs.name in (files := plan.scores.get(bundle.name, {}))
    }


def open_planned(data: PlannedData, root: Path) -> FacePairs:
    return open_pairs(root / data.path, root / data.faces if data.faces else None, data_name(data))


def _planned_extractors(
    plan: EvaluationPlan, root: Path, threads: int | None
) -> list[FeatureExtractor]:
    """Those of recognisers and baselines that are computed here."""
    extractors = [
        network_extractor(_recogniser_key(planned), planned.recogniser(root, threads))
        for planned in plan.recognisers
        if planned.path
    ]
    for baseline in plan.baselines:
        name = baseline_name(baseline)
        if baseline.path:
            extractors.append(network_extractor(name, baseline.recogniser(root, threads)))
        elif baseline.measure:
            extractors.append(pixel_extractor(name, baseline.measure))
    return extractors


def _recogniser_key(planned: PlannedRecogniser) -> str:
    """The name of its extractor, which no bundle or baseline has."""
    return f"recogniser {recogniser_name(planned)}"


@dataclass(frozen=True)
class _DataSet:
    """One data set of the plan. features: extractor's name -> (N, F)."""

    plan: EvaluationPlan
    root: Path
    pairs: FacePairs
    features: Mapping[str, Array]

    def qualities(self, bundles: Sequence[EvaluatedBundle]) -> dict[str, Floats]:
        """Name -> (N,) qualities of its faces, of bundles and baselines."""
        qualities: dict[str, Floats] = {}
        for bundle in bundles:
            qualities |= bundle.qualities(self.features[bundle.name])
        return qualities | self._baselines()

    def evaluate(self, qualities: Mapping[str, Floats]) -> tuple[list[Cell], list[WorthRow]]:
        """Cells and rows of every recogniser. qualities: (N,) of faces."""
        cells: list[Cell] = []
        rows: list[WorthRow] = []
        of_pairs = {name: self.pairs.pair_quality(values) for name, values in qualities.items()}
        curves = [name for name in qualities if " exit " not in name and " stop " not in name]
        for planned in self.plan.recognisers:
            embeddings = self._embeddings(planned)
            more_cells, more_rows = evaluate_qualities(
                self.pairs,
                recogniser_name(planned),
                planned.group,
                self.pairs.similarity(embeddings),
                of_pairs | self._norm_quality(embeddings),
                fmrs=self.plan.fmr,
                limit=self.plan.limit,
                resamples=self.plan.resamples,
                curves_of=[*curves, NORM],
            )
            cells += more_cells
            rows += more_rows
        return cells, rows

    def _embeddings(self, planned: PlannedRecogniser) -> Array:
        """(N, F), not normalised where they are computed here."""
        if planned.path:
            return self.features[_recogniser_key(planned)]
        name = recogniser_name(planned)
        return precomputed_embeddings(planned.embeddings, self.pairs, self.root, name)

    def _norm_quality(self, embeddings: Array) -> dict[str, Floats]:
        """The embedding's length as a quality (P,); empty where all have one length."""
        length = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        if np.nanstd(length) <= 1e-3 * np.nanmean(length):
            return {}
        return {NORM: self.pairs.pair_quality(length)}

    def _baselines(self) -> dict[str, Floats]:
        """Name -> (N,), higher is better."""
        qualities = {}
        for baseline in self.plan.baselines:
            name = baseline_name(baseline)
            if baseline.scores:
                values = precomputed_scores(baseline.scores, self.pairs, self.root, name)
            elif (outputs := self.features[name].shape[1]) != 1:
                raise ConfigError(
                    f"{baseline.path}: a quality network has one output, this has {outputs}"
                )
            else:
                values = self.features[name][:, 0].astype(np.float64)
            qualities[name] = -values if baseline.lower_is_better else values
        return qualities


def _data_set_info(pairs: FacePairs, notes: tuple[str, ...]) -> DataSetInfo:
    people = None if pairs.identity is None else len(set(pairs.identity[pairs.same].tolist()))
    all_notes = [*pairs.notes, *notes]
    if people is None:
        all_notes.append("no identities: intervals take pairs as independent and are too narrow")
    mated = int(pairs.same.sum())
    return DataSetInfo(
        pairs.name, len(pairs.faces), mated, pairs.same.size - mated, people, tuple(all_notes)
    )
