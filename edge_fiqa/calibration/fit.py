"""Trails of a user's own faces -> a calibration. No labels are needed.

The faces are split by group (a person, or a file). On one part the scale, the maps to the full score
and the spread of their errors are fitted. Intervals and risks are measured on the other part, the
held-out faces. The two must not mix: margins tested on the faces of the fit would promise too much.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from edge_fiqa import __version__
from edge_fiqa.calibration.artefact import Calibration, Depth, Promise, Rule
from edge_fiqa.calibration.estimate import Estimator, rule_name
from edge_fiqa.calibration.monotone import Line, fit_monotone, fit_spread
from edge_fiqa.calibration.risk import choose_margins, count_flips
from edge_fiqa.calibration.scale import Scale, ScaleForm, fit_scale
from edge_fiqa.config import CalibrationRecipe
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import RULES, Fusion, fuse
from edge_fiqa.types import Array, Floats, Mask, Rows

LEAST_FACES = 100
FIT_SHARE = 0.4  # of the groups; the promises need more
USUAL = CalibrationRecipe()
OUTSIDE = 0.05  # share of full scores above an interval, and share below it


def fit_calibration(
    trail: Array,
    groups: Sequence[str],
    *,
    model: str,
    fingerprint: str,
    exits: Sequence[int],
    images: str,
    fusions: Sequence[Fusion] = RULES,
    scale: ScaleForm | Scale = "sigmoid",
    risks: Sequence[float] = USUAL.risk,
    confidence: float = USUAL.confidence,
    seed: int = 0,
) -> Calibration:
    """trail (N, E): every exit of every face. groups: N names; faces of one name stay together.

    Raises ConfigError for fewer than 100 finite trails, or fewer than two groups.
    """
    if not (risks and all(0 < risk < 1 for risk in risks) and 0 < confidence < 1):
        raise ConfigError(f"risks and confidence lie between 0 and 1, got {risks}, {confidence}")
    whole = np.isfinite(trail).all(axis=1)
    trail, names = trail[whole], np.asarray(groups)[whole]
    if len(trail) < LEAST_FACES:
        raise ConfigError(f"calibrating needs at least {LEAST_FACES} faces, found {len(trail)}")
    fitting = _split(names, seed)
    held_groups = np.unique(names[~fitting], return_inverse=True)[1]
    rules = {
        rule_name(fusion): _fit_rule(
            trail, fitting, held_groups, exits, fusion, scale, risks, confidence
        )
        for fusion in fusions
    }
    return Calibration(
        model=model,
        fingerprint=fingerprint,
        exits=tuple(exits),
        edge_fiqa=__version__,
        faces=len(trail),
        images=images,
        gate=None,
        rules=rules,
    )


def fitted_on(trail: Array, groups: Sequence[str], seed: int = 0) -> Mask:
    """(N,) the faces that `fit_calibration` fits on, or does not use. The others are held out."""
    whole = np.isfinite(trail).all(axis=1)
    fitting = np.ones(len(trail), bool)
    fitting[whole] = _split(np.asarray(groups)[whole], seed)
    return fitting


def _split(names: npt.NDArray[np.str_], seed: int) -> Mask:
    """(N,) which faces are fitted on; the rest is held out."""
    unique = np.unique(names)
    if len(unique) < 2:
        raise ConfigError(
            "all faces are of one person (sub-folder); calibrating holds some persons out: give more "
            "of them, or the folder itself if its files are of different persons"
        )
    count = min(max(round(FIT_SHARE * len(unique)), 1), len(unique) - 1)
    return np.isin(names, np.random.default_rng(seed).permutation(unique)[:count])


def _fit_rule(
    trail: Array,
    fitting: Mask,
    held_groups: Rows,
    exits: Sequence[int],
    fusion: Fusion,
    scale: ScaleForm | Scale,
    risks: Sequence[float],
    confidence: float,
) -> Rule:
    last = trail.shape[1]
    full = fuse(trail, last, fusion)
    fitted_scale = fit_scale(full[fitting], scale) if isinstance(scale, str) else scale
    depths = [_fit_depth(fuse(trail, depth, fusion), full, fitting) for depth in range(1, last)]
    ends = np.array([full.min(), full.max()])
    depths.append(Depth(Line.through(ends, ends), Line((0.0,), (0.0,)), 0.0, 0.0))
    rule = Rule(fitted_scale, tuple(depths), ())
    estimates, spreads = Estimator(rule).estimates_and_spreads(trail[~fitting], exits, fusion)
    thresholds = [fitted_scale.score_of(gate) for gate in range(101)]
    counts = count_flips(estimates, spreads, thresholds, held_groups, confidence)
    promises = []
    for risk in risks:
        gates, all_gates = choose_margins(counts, risk, confidence)
        promises.append(Promise(risk, confidence, len(estimates), tuple(gates), all_gates))
    return msgspec.structs.replace(rule, promises=tuple(promises))


def _fit_depth(fused: Array, full: Array, fitting: Mask) -> Depth:
    line = fit_monotone(fused[fitting], full[fitting])
    estimate = np.interp(fused, line.x, line.y)
    residual = full - estimate
    spread = fit_spread(estimate[fitting], residual[fitting])
    standard = np.sort((residual / np.interp(estimate, spread.x, spread.y))[~fitting])
    low, high = _conformal(standard)
    return Depth(line, spread, low, high)


def _conformal(held_out: Floats) -> tuple[float, float]:
    """Split conformal bounds (arXiv:2107.07511, section 2) from sorted residuals (N,)."""
    n = len(held_out)
    above = min(int(np.ceil((n + 1) * (1 - OUTSIDE))), n) - 1
    below = max(int(np.floor((n + 1) * OUTSIDE)), 1) - 1
    return round(float(held_out[below]), 4), round(float(held_out[above]), 4)
