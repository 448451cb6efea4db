"""Faces and pairs from which `edge-fiqa calibrate` says what the gates mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator, rule_name
from edge_fiqa.calibration.gate_table import (
    GateTable,
    KindOfUse,
    RemainingErrors,
    kind_of_use,
    remaining_errors,
)
from edge_fiqa.calibration.scale import Qualities
from edge_fiqa.cli.pairs import read_pairs
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.evaluation.recognition import read_recogniser
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.types import Array, FaceSet


@dataclass(frozen=True)
class KnownPairs:
    """Who is who. pairs: a CSV. recogniser: an .onnx or .yaml file. fmr: at which it is used."""

    pairs: Path
    recogniser: Path
    fmr: float


@dataclass(frozen=True)
class ScoredUse:
    """Faces of one kind of use, and their complete trails (N, E)."""

    name: str
    faces: FaceSet
    trail: Array


def parse_use(text: str) -> tuple[str, Path]:
    """`door=FOLDER` -> the kind of use and its folder. Raises ConfigError."""
    name, separator, folder = text.partition("=")
    if not (separator and name.strip() and folder):
        raise ConfigError(f"--use takes NAME=FOLDER, as in door=crops/door; got {text!r}")
    return name.strip(), Path(folder)


def gate_table(
    calibration: Calibration, fusion: Fusion, uses: Sequence[ScoredUse], known: KnownPairs | None
) -> GateTable:
    """known: pairs of file names below each use's folder. Raises ConfigError if no use has any."""
    estimator = Estimator.of(calibration, fusion)
    kinds = tuple(_kind(use, estimator.full_qualities(use.trail, fusion), known) for use in uses)
    if known is not None and all(kind.errors is None for kind in kinds):
        raise ConfigError(
            f"{known.pairs}: none of its pairs is among the faces; paths are below FACES"
        )
    return GateTable(rule_name(fusion), kinds)


def _kind(use: ScoredUse, quality: Qualities, known: KnownPairs | None) -> KindOfUse:
    errors = None if known is None else _errors(use, quality, known)
    return kind_of_use(
        quality, use.faces.groups, name=use.name, images=use.faces.described, errors=errors
    )


def _errors(use: ScoredUse, quality: Qualities, known: KnownPairs) -> RemainingErrors | None:
    """None where no pair is of these faces. Raises ConfigError if impostors are too few for the FMR."""
    pairs = read_pairs(known.pairs, use.faces)
    if not len(pairs):
        return None
    recogniser = read_recogniser(known.recogniser)
    embedding = recogniser.embed(use.faces.crops)
    similarity = (embedding[pairs[:, 0]] * embedding[pairs[:, 1]]).sum(axis=1)
    same = pairs[:, 2] == 1
    if not same.any():
        raise ConfigError(f"{known.pairs}: none of the pairs of {use.name} faces is mated")
    threshold = threshold_at_fmr(similarity[~same], known.fmr)
    return remaining_errors(
        quality[pairs[same, :2]].min(axis=1),
        ~(similarity[same] >= threshold),  # what has no embedding matches nobody
        [use.faces.groups[row] for row in pairs[same, 0]],
        recogniser=recogniser.path.stem,
        fmr=known.fmr,
        impostors=int(np.count_nonzero(~same)),
    )
