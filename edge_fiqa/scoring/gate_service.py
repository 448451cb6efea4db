"""The gate policy in service: early exits, audits beside them, and full depth once they fail.

service = GateService(Scorer.open(gate=45), risk=0.01)
records = service.score(faces)
if service.audit.suspended:            # the faces are no longer like those of the calibration
    service.recalibrate().save(path)   # from what it has seen since
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.audit import Audit
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fit_calibration
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.policies.gate import Gate, gate_alone
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import Decision, Record
from edge_fiqa.scoring.inputs import FULL_DEPTH, Face, Policies, ScoredFace, as_faces, as_policies
from edge_fiqa.scoring.scorer import Scorer
from edge_fiqa.types import Bytes


class GateService:
    """Scores faces under a scorer's gate policy. Threads may share it, and several services one Audit.

    risk: of decisions that differ from full depth, one that the calibration promises; None: its
    first. ranked: faces below this quality run to full depth. Raises ConfigError if the scorer has no
    gate or no such promise.
    """

    def __init__(
        self,
        scorer: Scorer,
        risk: float | None = None,
        audit: Audit | None = None,
        *,
        ranked: int | None = None,
    ) -> None:
        self.scorer, self._changing = scorer, threading.Lock()
        self._rule = scorer.scale, scorer.gate_policy(risk, ranked=ranked)
        self.audit = audit or Audit(self.gate.risk)

    @property
    def gate(self) -> Gate:
        return self._rule[1]

    def prepare(self, policies: Policies = FULL_DEPTH, batch: int = 1) -> None:
        """Load and warm what scoring may run, audits included."""
        listed = as_policies(policies)
        self.scorer.prepare(listed, batch)
        self.scorer.prepare([*listed, self.gate], batch)

    def score_face(self, face: Face, policies: Policies = FULL_DEPTH) -> Record:
        """One aligned crop (112, 112, 3) uint8 RGB, or the path of one -> its record."""
        return self.score([face], policies)[0]

    def score(self, faces: Iterable[Face] | Bytes, policies: Policies = FULL_DEPTH) -> list[Record]:
        """One record a face, in order. The policies given compose with the gate."""
        self.scorer.check_open()
        return self._score(as_faces(faces), as_policies(policies))

    def _score(self, faces: Sequence[ScoredFace], policies: Sequence[Policy]) -> list[Record]:
        scale, gate = self._rule  # of one calibration, whatever another thread changes meanwhile
        score, alarm = self.scorer.score_on, self.audit.suspended
        if alarm is not None:
            records = score(scale, faces, policies)
            for face, record in zip(faces, records, strict=True):
                self._see(face, record, gate)
            return [_with_warning(record, alarm) for record in records]
        picked = self._picked(faces)
        early = [face for face, deep in zip(faces, picked, strict=True) if not deep]
        gated = iter(score(scale, early, [*policies, gate]))
        audited = iter(
            score(scale, [f for f, deep in zip(faces, picked, strict=True) if deep], policies)
        )
        promised = gate_alone([*policies, gate]) is not None
        return [
            self._audited(face, next(audited), gate, promised) if deep else next(gated)
            for face, deep in zip(faces, picked, strict=True)
        ]

    def recalibrate(self) -> Calibration:
        """Refit maps and margins to the faces audited since the alarm, and trust early exits again.

        Faces of one person count as fewer; where the person is not known, those of one source do. The
        0-100 scale stays as it was. Raises ConfigError, and stays as it was, while there are too few
        faces, or of too few persons to promise anything at this gate.
        """
        with self._changing:
            return self._recalibrate()

    def _recalibrate(self) -> Calibration:
        (trails, persons), old = self.audit.trails, self.scorer.calibration
        assert old is not None  # there is a gate
        calibration = fit_calibration(
            trails,
            persons,
            model=old.model,
            fingerprint=old.fingerprint,
            exits=old.exits,
            images="faces in service",
            fusions=[self.gate.fusion],
            scale=self.gate.estimator.scale,
            risks=[self.gate.risk],
            confidence=self.gate.confidence,
        )
        line = max(self.gate.gate, self.gate.ranked or 0)
        if Estimator.of(calibration, self.gate.fusion).promise(self.gate.risk).gates[line] is None:
            people = counted(len(set(persons)), "person or source", "persons or sources")
            raise ConfigError(
                f"{counted(len(trails), 'face')} of {people} are too few to "
                f"promise a risk of {self.gate.risk:g} at quality {line}; go on, and try again later"
            )
        calibration = msgspec.structs.replace(
            calibration, gate=old.gate, reference=old.reference, causes=old.causes
        )
        self.use(calibration)
        self.audit.restart(self.gate.risk)
        return calibration

    def use(self, calibration: Calibration) -> None:
        """Go on with another calibration of this model. Calls under way end with theirs."""
        self.scorer.use(calibration)
        gate = self.scorer.gate_policy(self.gate.risk, ranked=self.gate.ranked)
        self._rule = self.scorer.scale, gate

    def _picked(self, faces: Sequence[ScoredFace]) -> list[bool]:
        """Of each face: is it audited?"""
        crops = [face for face in faces if isinstance(face, FaceCrop)]
        if not crops:
            return [False] * len(faces)
        pixels = np.stack([face.crop for face in crops])
        chosen = iter(self.audit.chosen(pixels, [face.person for face in crops]).tolist())
        return [isinstance(face, FaceCrop) and next(chosen) for face in faces]

    def _audited(self, face: ScoredFace, record: Record, gate: Gate, promised: bool) -> Record:
        """At full depth the decision is full depth's own; early by another policy: no audit."""
        if not self._see(face, record, gate):
            return record
        decision = record.decision
        if promised:
            decision = Decision(decision.gate, decision.accepted, gate.risk, gate.confidence)
        return msgspec.structs.replace(
            record, exit=msgspec.structs.replace(record.exit, reason="audit"), decision=decision
        )

    def _see(self, face: ScoredFace, record: Record, gate: Gate) -> bool:
        """Was this record complete, and so seen by the audit?"""
        scores = record.exit.scores
        if isinstance(face, RefusedFace) or record.quality.code != "ok" or None in scores:
            return False
        if (
            gate is not self.gate
        ):  # recalibrated meanwhile: its audit is of another gate's decisions
            return False
        trail = np.array([scores], np.float32)
        flipped = bool(gate.replay(trail).flipped[0])
        self.audit.see(trail[0], flipped, face.person, face.source)
        return True


def _with_warning(record: Record, warning: str) -> Record:
    return msgspec.structs.replace(record, warnings=(*record.warnings, warning))
