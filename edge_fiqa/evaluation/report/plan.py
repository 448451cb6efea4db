"""The plan: a YAML file that says what to evaluate, on what, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edge_fiqa.config import read_yaml
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Feeding

Rate = Annotated[float, Meta(gt=0, lt=1)]


class PlannedData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """path: as `edge_fiqa.evaluation.datasets` reads it. faces: the folder its list is about."""

    path: str
    faces: str | None = None
    name: str | None = None


class PlannedRecogniser(Feeding, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ONNX file and how it is fed, or embeddings: data set -> npz with names and embeddings.

    group: averages are taken within a group, such as recognisers that taught the model and others.
    """

    path: str = ""
    name: str | None = None
    group: str = "all"
    embeddings: dict[str, str] = msgspec.field(default_factory=dict)


class PlannedBaseline(Feeding, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another quality: an ONNX file with one output, a measure of pixels, or scores: data set -> CSV
    with columns path and score, or Parquet set of records."""

    path: str = ""
    name: str | None = None
    measure: Literal["sharpness", "brightness", "contrast"] | None = None
    scores: dict[str, str] = msgspec.field(default_factory=dict)
    lower_is_better: bool = False


class EvaluationPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """limit: of discard, for pAUC. resamples: of identities.

    scores: bundle -> data set -> Parquet set of its records (edge-fiqa score --on ray --all-exits),
    which is read instead of scoring the faces again.
    measure: measure ms on this machine now, instead of reading the bundles' tables.
    attention: bundle -> checkpoint, for the maps of its exits.
    """

    title: str = "Face image quality: what each exit is worth"
    data: Annotated[tuple[PlannedData, ...], Meta(min_length=1)]
    recognisers: Annotated[tuple[PlannedRecogniser, ...], Meta(min_length=1)]
    bundles: tuple[str, ...] = ("nano",)
    scores: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    baselines: tuple[PlannedBaseline, ...] = ()
    fmr: Annotated[tuple[Rate, ...], Meta(min_length=1)] = (1e-2, 1e-3, 1e-4)
    limit: Rate = 0.3
    resamples: Annotated[int, Meta(ge=20, le=100_000)] = 300
    measure: bool = False
    attention: dict[str, str] = msgspec.field(default_factory=dict)


def load_plan(path: Path) -> EvaluationPlan:
    """Raises ConfigError naming file and key."""
    try:
        plan = msgspec.convert(read_yaml(path), EvaluationPlan)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    _check(plan, path)
    return plan


def _check(plan: EvaluationPlan, path: Path) -> None:
    """Raises ConfigError for names that stand twice, and for a source that is missing or double."""
    for kind, names in (
        ("data set", [data_name(data) for data in plan.data]),
        ("recogniser", [recogniser_name(planned) for planned in plan.recognisers]),
        ("score", [*(Path(b).name for b in plan.bundles), *map(baseline_name, plan.baselines)]),
    ):
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"{path}: two {kind}s are called {min(repeated)}; give them a name")
    bundles, sets = {Path(b).name for b in plan.bundles}, {data_name(data) for data in plan.data}
    for bundle, stored in plan.scores.items():
        if bundle not in bundles:
            raise ConfigError(f"{path}: scores: {bundle} is not one of bundles: {sorted(bundles)}")
        if other := set(stored) - sets:
            raise ConfigError(f"{path}: scores: {bundle}: no data set is called {min(other)}")
    for recogniser in plan.recognisers:
        if bool(recogniser.path) == bool(recogniser.embeddings):
            name = recogniser_name(recogniser)
            raise ConfigError(f"{path}: recogniser {name}: give path or embeddings")
    for baseline in plan.baselines:
        sources = (bool(baseline.path), baseline.measure is not None, bool(baseline.scores))
        if sum(sources) != 1:
            name = baseline_name(baseline)
            raise ConfigError(f"{path}: baseline {name}: give one of path, measure, scores")


def data_name(data: PlannedData) -> str:
    return data.name or Path(data.path).stem


def recogniser_name(planned: PlannedRecogniser) -> str:
    return planned.name or Path(planned.path).stem or "embeddings"


def baseline_name(planned: PlannedBaseline) -> str:
    return planned.name or planned.measure or Path(planned.path).stem or "scores"
