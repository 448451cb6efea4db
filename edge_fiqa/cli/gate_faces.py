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
    """Faces of one kind of use, their complete trails (N, E), and the logits (N, K, D) of causes of low
    quality at the K exits of the bundle; None where none were read."""

    name: str
    faces: FaceSet
    trail: Array
    causes: Array | None = None


def parse_use(text: str) -> tuple[str, Path]:
    """`door=FOLDER` -> the kind of use and its folder. Raises ConfigError."""
    name, separator, folder = text.partition("=")
    if not (separator and name.strip() and folder):
        raise ConfigError(f"--use takes NAME=FOLDER, as in door=crops/door; got {text!r}")
    return name.strip(), Path(folder)


def gate_table(
    calibration: Calibration, fusion: Fusion, uses: Sequence[ScoredUse], known: KnownPairs | None
) -> GateTable:
    """known: pairs of file names below each use's folder.

    A recogniser compares what a camera saw with what was enrolled. So a pair is a face of the first
    kind of use, by its path_a, and one of the kind that is judged, by its path_b.
    Raises ConfigError if no use has any.
    """
    estimator = Estimator.of(calibration, fusion)
    qualities = [estimator.full_qualities(use.trail, fusion) for use in uses]
    errors: list[RemainingErrors | None] = [None] * len(uses)
    if known is not None:
        errors = _errors_of_uses(uses, qualities, known)
    kinds = [
        kind_of_use(quality, use.faces.groups, name=use.name, images=use.faces.described, errors=e)
        for use, quality, e in zip(uses, qualities, errors, strict=True)
    ]
    return GateTable(rule_name(fusion), tuple(kinds))


def _errors_of_uses(
    uses: Sequence[ScoredUse], qualities: Sequence[Qualities], known: KnownPairs
) -> list[RemainingErrors | None]:
    recogniser = read_recogniser(known.recogniser)
    embeddings = [recogniser.embed(use.faces.crops) for use in uses]
    errors: list[RemainingErrors | None] = []
    for use, quality, embedding in zip(uses, qualities, embeddings, strict=True):
        rows, mated = read_pairs(known.pairs, uses[0].faces, use.faces)
        if not mated.any():
            errors.append(None)
            continue
        similarity = (embeddings[0][rows[:, 0]] * embedding[rows[:, 1]]).sum(axis=1)
        # What has no embedding matches nobody; as NaN it would be the highest of all impostors.
        similarity = np.where(np.isnan(similarity), -np.inf, similarity)
        same = mated == 1
        threshold = threshold_at_fmr(similarity[~same], known.fmr)
        pair_quality = np.minimum(qualities[0][rows[:, 0]], quality[rows[:, 1]])
        errors.append(
            remaining_errors(
                pair_quality[same],
                similarity[same] < threshold,
                [uses[0].faces.groups[row] for row in rows[same, 0]],
                recogniser=recogniser.path.stem,
                fmr=known.fmr,
                impostors=int(np.count_nonzero(~same)),
            )
        )
    if all(error is None for error in errors):
        raise ConfigError(
            f"{known.pairs}: none of its mated pairs is among the faces; paths are below FACES"
        )
    return errors
