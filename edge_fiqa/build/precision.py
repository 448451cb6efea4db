"""What reduced precision costs in scores and decisions, against float32, and whether it is too much."""

from __future__ import annotations

import msgspec
import numpy as np

from edge_fiqa.bundle.manifest import ExitParity, Manifest
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.config import BuildRecipe
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.types import Array

GATES = range(10, 91, 10)
MEASURES = {"spearman": "a rank correlation of", "agreement": "a share of equal decisions of"}


def compare(
    trails: Array, reference: Array, calibration: Calibration | None
) -> tuple[ExitParity, ...]:
    """Trails (N, E) of a bundle and of float32 -> one row per exit.

    Both go through the same calibration, fused by FW as by default.
    """
    rows = []
    for depth in range(1, trails.shape[1] + 1):
        agreement = within = None
        if calibration is not None:
            agreement, within = _decisions(trails, reference, depth, calibration)
        a, b = trails[:, depth - 1], reference[:, depth - 1]
        rows.append(
            ExitParity(depth, float(np.abs(a - b).max()), _spearman(a, b), agreement, within)
        )
    return tuple(rows)


def with_graph_difference(
    exits: tuple[ExitParity, ...], differences: Array
) -> tuple[ExitParity, ...]:
    """Rows completed by differences (N, E) between an engine and the bundle's graph as written."""
    rms = np.sqrt((differences.astype(np.float64) ** 2).mean(axis=0))
    largest = np.abs(differences).max(axis=0)
    return tuple(
        msgspec.structs.replace(row, rms_to_graph=float(r), max_to_graph=float(top))
        for row, r, top in zip(exits, rms, largest, strict=True)
    )


def check_precision(manifest: Manifest, recipe: BuildRecipe) -> None:
    """Raise ConfigError naming the exit where the bundle loses more than the recipe allows."""
    if recipe.precision == "fp32" or recipe.accept_imprecise:
        return
    for name, limit in (("spearman", recipe.least_spearman), ("agreement", recipe.least_agreement)):
        rows = [row for row in manifest.parity.exits if row.agreement is not None]
        worst = min(rows, key=lambda row: getattr(row, name) or 0.0, default=None)
        if worst is not None and (getattr(worst, name) or 0.0) < limit:
            raise ConfigError(
                f"{recipe.precision} loses too much: exit {worst.exit} has {MEASURES[name]} "
                f"{getattr(worst, name) or 0.0:.4f} with float32, the limit is {limit:g}; take another "
                "--precision or --ranges, more --calibration-images, or --accept-imprecise"
            )


def _decisions(
    trails: Array, reference: Array, depth: int, calibration: Calibration
) -> tuple[float, float]:
    estimator = Estimator.of(calibration, "FW")
    a, b = (
        estimator.scale.quality(estimator.estimate(fuse(trail, depth), depth))
        for trail in (trails, reference)
    )
    agreement = min(float(((a >= gate) == (b >= gate)).mean()) for gate in GATES)
    return agreement, float((np.abs(a - b) <= 1).mean())


def _spearman(a: Array, b: Array) -> float | None:
    from scipy.stats import spearmanr

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)
