"""What a bundle and a calibration must agree on, so that the right causes are reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_fiqa.bundle.manifest import Manifest
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.reasons.limits import CauseLimits, fit_limits, persons_needed
from edge_fiqa.types import Array


def with_limits(
    calibration: Calibration,
    logits: Array,
    trail: Array,
    groups: Sequence[str],
    manifest: Manifest,
) -> Calibration:
    """The calibration with limits from its own faces: logits (N, K, D), trail (N, E), groups (N,)."""
    assert manifest.cause_heads is not None  # it gave the logits
    limits = fit_limits(
        logits,
        fuse(trail, trail.shape[1], "FW"),
        groups,
        names=manifest.causes,
        exits=manifest.exits,
        heads=manifest.cause_heads,
        right=manifest.cause_right,
    )
    return msgspec.structs.replace(calibration, causes=limits)


def check_limits(calibration: Calibration, heads: str | None, bundle: Path) -> None:
    """heads: SHA-256 of the bundle's. Raises ConfigError if the limits are of others."""
    limits = calibration.causes
    if limits is not None and heads is not None and limits.heads != heads:
        raise ConfigError(
            f"the calibration's limits of causes are for other cause heads than those of {bundle}; "
            "run edge-fiqa calibrate with this bundle"
        )


def blamed(calibration: Calibration, limits: CauseLimits) -> str:
    """How many faces get any cause at most, and of which quality these faces are."""
    good = "good faces"
    if limits.least_score is not None and "FW" in calibration.rules:
        good = f"faces of quality {least_quality(calibration, limits.least_score)} or more"
    return f"at most {100 * limits.false_alarm:g} % of {good} get any"


def least_quality(calibration: Calibration, score: float) -> int:
    """The lowest quality of which every face has at least this score at full depth."""
    scale = Estimator.of(calibration, "FW").scale
    return next((quality for quality in range(100) if scale.score_of(quality) >= score), 100)


def why_no_reasons(manifest: Manifest, calibration: Calibration | None) -> str | None:
    """Why no cause will be reported of a model that reads causes; None where some can be."""
    if not manifest.causes or calibration is None:
        return None
    limits = calibration.causes
    if limits is None:
        return (
            "no reasons will be given: the calibration has no limits of causes; make it from faces "
            "with edge-fiqa calibrate FACES (without --keep and --scores)"
        )
    if limits.reporting:
        return None
    needed = persons_needed(limits.false_alarm)
    if limits.faces < needed:
        return (
            f"no cause of low quality will be reported: that needs {needed} persons (sub-folders) with "
            f"good faces, and here are {limits.faces}"
        )
    return (
        "no cause of low quality will be reported: at no exit is what the model's cause heads say "
        "right often enough"
    )
