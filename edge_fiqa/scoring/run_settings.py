"""The settings of a run that its scores depend on: one file of records has one of each.

They are kept beside the file, in `FILE.run.json`, as words. A file without that, as older versions
wrote them, is judged by its rows alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import sha256
from edge_fiqa.policies.gate import Gate
from edge_fiqa.policies.policy import Fixed, Policy
from edge_fiqa.scoring.scorer import Scorer
from edge_fiqa.scoring.stored_rows import StoredRow

FacesFrom = Literal["crops", "landmarks", "detector"]
CROPS_OR_DETECTOR: frozenset[FacesFrom] = frozenset(("crops", "detector"))
LANDMARKS = "landmarks file"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """described: what is kept beside the file, name -> value in words.

    reasons, depth: for stopping, of faces with a score; depth: None where it is not known before.
    landmarks: the file, which may grow between two runs. faces: where they may come from.
    """

    fingerprint: str
    fusion: str
    calibration: str | None
    gate: int | None
    reasons: frozenset[str]
    depth: int | None
    faces: frozenset[FacesFrom]
    landmarks: Path | None
    described: Mapping[str, str]

    def scale_difference(self, row: StoredRow) -> str | None:
        """Say how a row's score is of another model, fusion or calibration; None if it is not."""
        return _first_difference(
            ("model", row.fingerprint, self.fingerprint),
            ("fusion", row.fusion, self.fusion),
            ("calibration", row.calibration, self.calibration),
        )

    def settings_difference(self, row: StoredRow) -> str | None:
        """Say how a row, as far as it shows, was made with another gate, policy or face finding."""
        difference = _first_difference(
            ("gate", row.gate, self.gate),
            ("faces from", _faces_of(row), self._faces_like(row)),
            ("exit", row.depth, row.depth if self.depth is None else self.depth),
        )
        if difference is None and row.reason not in self.reasons:
            allowed = " or ".join(sorted(self.reasons))
            difference = f"reason for stopping: {row.reason} there, {allowed} now"
        return difference

    def _faces_like(self, row: StoredRow) -> str:
        """The row's way to faces where it is one of this run's, else this run's."""
        return _faces_of(row) if _faces_of(row) in self.faces else " or ".join(sorted(self.faces))

    def difference(self, kept: Mapping[str, str]) -> str | None:
        """Say how these settings differ from those kept beside a file; None if they do not.

        A setting that only one of them names is not compared.
        """
        for name, value in self.described.items():
            before = kept.get(name, value)
            if before != value and not (name == LANDMARKS and self._has_grown(before)):
                return f"{name}: {before} there, {value} now"
        return None

    def _has_grown(self, before: str) -> bool:
        """Whether the landmarks file only gained rows: it begins with what it was."""
        assert self.landmarks is not None  # it is described
        size = int(before.split()[0])
        data = self.landmarks.read_bytes()
        return len(data) >= size and before == _bytes_described(data[:size])


def settings_of(
    scorer: Scorer,
    policies: Sequence[Policy],
    *,
    gate: Gate | None,
    audit_share: float | None,
    detector: Path | None,
    landmarks: Path | None,
    min_eye_px: float,
    crops_pass: bool = False,
    detection: str = "",
) -> RunSettings:
    """gate: the gate policy, where it decides. audit_share: of its audits.

    crops_pass: aligned crops do not go to the detector, so that a file may hold faces from both. That
    is another setting than crops alone, also where the detector came after the crops were scored.
    detection: the detector's settings in words.
    """
    algorithm = scorer.bundle.manifest
    faces: FacesFrom = "landmarks" if landmarks else "detector" if detector else "crops"
    mixed = crops_pass and faces == "detector"
    described = {
        "model": f"{algorithm.name} {algorithm.fingerprint}",
        "fusion": scorer.fusion,
        "calibration": scorer.calibrated or "none",
        "gate": "none" if scorer.gate is None else str(scorer.gate),
        "policy": _policies_described(policies, gate, audit_share, scorer.controller.exits[-1]),
    }
    described["faces from"] = "crops or detector" if mixed else faces
    if detector is not None and landmarks is None:
        described["detector"] = f"sha256:{sha256(detector)}"
        described["detection"] = detection
    if landmarks is not None:
        described[LANDMARKS] = _bytes_described(landmarks.read_bytes())
    if faces != "crops":
        described["smallest eye distance"] = f"{min_eye_px:g} pixels"
    return RunSettings(
        fingerprint=algorithm.fingerprint,
        fusion=scorer.fusion,
        calibration=scorer.calibrated,
        gate=scorer.gate,
        reasons=_reasons(policies, gate),
        depth=_known_depth(policies, gate, scorer.controller.exits[-1]),
        faces=CROPS_OR_DETECTOR if mixed else frozenset((faces,)),
        landmarks=landmarks,
        described=described,
    )


def _bytes_described(data: bytes) -> str:
    return f"{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()}"


def _policies_described(
    policies: Sequence[Policy], gate: Gate | None, audit_share: float | None, deepest: int
) -> str:
    texts = [_policy_described(policy, deepest) for policy in policies]
    if gate is not None:
        ranked = "" if gate.ranked is None else f" ranked={gate.ranked}"
        texts.append(f"gate risk={gate.risk:g}{ranked} audit={audit_share:g}")
    return ", ".join(texts)


def _policy_described(policy: Policy, deepest: int) -> str:
    if isinstance(policy, Fixed):
        return "full depth" if policy.depth in (None, deepest) else f"exit {policy.depth}"
    assert is_dataclass(policy)
    values = {field.name: getattr(policy, field.name) for field in fields(policy)}
    stated = {name: value for name, value in values.items() if name != "reason"}
    texts = [f"{name}={value}" for name, value in stated.items() if value is not None]
    return " ".join([policy.reason, *texts])


def _reasons(policies: Sequence[Policy], gate: Gate | None) -> frozenset[str]:
    reasons = {"full", *(policy.reason for policy in policies)}
    if any(isinstance(policy, Fixed) for policy in policies):
        reasons.add("fixed")
    return frozenset(reasons if gate is None else {*reasons, "gate", "audit"})


def _known_depth(policies: Sequence[Policy], gate: Gate | None, deepest: int) -> int | None:
    if gate is not None or not all(isinstance(policy, Fixed) for policy in policies):
        return None
    depths = [policy.depth or deepest for policy in policies if isinstance(policy, Fixed)]
    return min(depths, default=deepest)


def _faces_of(row: StoredRow) -> FacesFrom:
    if row.has_box:
        return "detector"
    return "landmarks" if row.has_landmarks else "crops"


def _first_difference(*compared: tuple[str, Any, Any]) -> str | None:
    for name, before, now in compared:
        if before != now:
            return f"{name}: {before} there, {now} now"
    return None


class RunFile(Struct, frozen=True, kw_only=True):
    """What stands in `FILE.run.json`.

    size: of the record file in bytes, when all its images were whole. unfinished: images of which
    faces may be missing there, because a crash came between them.
    started_ns: of the last run, since 1970; None in files of older versions. changed: images whose
    picture changed since it was scored, and that no run has scored again so far.
    """

    schema: Literal["edge-fiqa-run/1"] = "edge-fiqa-run/1"
    settings: dict[str, str]
    size: int
    unfinished: tuple[str, ...] = ()
    started_ns: int | None = None
    changed: tuple[str, ...] = ()


def read_run_file(path: Path) -> RunFile | None:
    """None where there is none. Raises ConfigError if it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    except msgspec.MsgspecError as exc:
        raise ConfigError(
            f"{path} is damaged ({exc}); delete it, then the rows alone are compared"
        ) from exc
