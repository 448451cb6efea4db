"""The frozen result of a calibration, as JSON: maps of raw scores, and promised margins.

It belongs to one model (by fingerprint) and to the exits at which its bundle can stop.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from edge_fiqa.calibration.gate_table import GateTable
from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.reference import Reference
from edge_fiqa.calibration.scale import Scale
from edge_fiqa.errors import ConfigError
from edge_fiqa.files import write_whole
from edge_fiqa.reasons.limits import CauseLimits

SCHEMA: Final = "edge-fiqa-calibration/1"
FILE = "calibration.json"
Share = Annotated[float, Meta(gt=0, lt=1)]
Margin = Annotated[float, Meta(gt=0, le=1e6)]
QualityBound = Annotated[int, Meta(ge=0, le=100)]


class Depth(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about stopping at one depth, for one fusion rule.

    full: fused score at this depth -> estimate of the full fused score. spread: estimate -> typical
    size of what the full score differs from it. low, high: 5 % and 95 % of that difference in
    spreads, on held-out faces.
    """

    full: Line
    spread: Line
    low: float
    high: float

    def __post_init__(self) -> None:
        if min(self.spread.y) < 0 or min(np.diff(self.full.y), default=0) < 0:
            raise ConfigError("a spread is not negative, and an estimate never falls")


class Promise(Struct, frozen=True, forbid_unknown_fields=True):
    """Decisions that differ from full depth: at most `risk`, with probability `confidence`.

    gates[q] is the margin in spreads for the gate q = 0..100; `all_gates` is one that holds for every
    gate at once. None: stopping early is not safe there. faces: held out for this test.
    """

    risk: Share
    confidence: Share
    faces: int
    gates: Annotated[tuple[Margin | None, ...], Meta(min_length=101, max_length=101)]
    all_gates: Margin | None


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One fusion rule: its 0-100 scale, depths 1..E, and promises."""

    scale: Scale
    depths: tuple[Depth, ...]
    promises: tuple[Promise, ...]


class Calibration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-fiqa-calibration/1"] = SCHEMA
    model: str
    fingerprint: str
    exits: Annotated[tuple[int, ...], Meta(min_length=1)]  # where the calibrated policy may stop
    edge_fiqa: str
    faces: int
    images: str  # what the faces were
    gate: QualityBound | None  # recommended
    rules: dict[str, Rule]
    reference: Reference | None = None
    gate_table: GateTable | None = None
    """What the gates mean. None in files of older versions."""
    causes: CauseLimits | None = None
    """When causes of low quality are reported. None for models that read none."""
    sha256: str | None = None
    """In the file: of all else in it. None in memory, and in files of older versions."""

    def __post_init__(self) -> None:
        if self.causes is not None and self.causes.exits != self.exits:
            raise ConfigError(f"limits of causes are not for the exits {self.exits}")
        if any(len(rule.depths) != self.exits[-1] for rule in self.rules.values()):
            raise ConfigError(f"a rule says something else than depths 1 to {self.exits[-1]}")

    @property
    def id(self) -> str:
        """Eight digits by which records name it: of all that a quality, stop or reason depends on."""
        tree = _tree(self)
        tree.pop("gate_table", None)
        return hashlib.sha256(msgspec.json.encode(tree)).hexdigest()[:8]

    def save(self, path: Path) -> None:
        """Whole or not at all. Raises ConfigError if the file cannot be written."""
        tree = _tree(self)
        text = msgspec.json.encode({**tree, "sha256": _digest(tree)})
        try:
            write_whole(path, msgspec.json.format(text, indent=0) + b"\n")
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc


def load_calibration(path: Path, fingerprint: str | None = None) -> Calibration:
    """Reads and checks. Raises ConfigError if the file is damaged, foreign, or of another model."""
    try:
        text = path.read_bytes()
        calibration = msgspec.json.decode(text, type=Calibration)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{path} is not a calibration ({SCHEMA}): {exc}") from exc
    _check_digest(text, calibration.sha256, path)
    calibration = msgspec.structs.replace(calibration, sha256=None)
    if fingerprint is not None and calibration.fingerprint != fingerprint:
        raise ConfigError(
            f"{path} was made for another model ({calibration.model}, "
            f"{calibration.fingerprint[:15]}..., this one is {fingerprint[:15]}...); "
            "run edge-fiqa calibrate with this bundle"
        )
    return calibration


def is_calibration(path: Path) -> bool:
    """Whether a file says that it is one, of any version and however damaged its values are."""
    try:
        tree = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return False
    schema = tree.get("schema") if isinstance(tree, dict) else None
    return str(schema).startswith(SCHEMA.rpartition("/")[0])


def _tree(calibration: Calibration) -> dict[str, Any]:
    """What its digest is of."""
    tree: dict[str, Any] = msgspec.to_builtins(calibration)
    del tree["sha256"]
    for key in ("gate_table", "causes"):  # older versions know no such keys
        if tree[key] is None:
            del tree[key]
    return tree


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(tree, order="sorted")).hexdigest()


def _check_digest(text: bytes, stated: str | None, path: Path) -> None:
    """Raises ConfigError if the file states another digest than its content has."""
    tree = msgspec.json.decode(text)
    tree.pop("sha256", None)
    if stated not in (None, _digest(tree)):
        raise ConfigError(
            f"{path} is damaged or was changed: its content and its sha256 differ; run edge-fiqa "
            "calibrate again, or delete its sha256 if you changed it on purpose"
        )
