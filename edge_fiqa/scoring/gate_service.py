"""The gate policy in service: early exits, audits beside them, and full depth once they fail.

service = GateService(Scorer.open(gate=45), risk=0.01)
records = service.score(faces)
if service.audit.suspended:            # the faces are no longer like those of the calibration
    service.recalibrate().save(path)   # from what it has seen since
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.audit import Audit
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fit_calibration
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.policies.gate import gate_alone
from edge_fiqa.policies.policy import Fixed, Policy
from edge_fiqa.record import Decision, Record
from edge_fiqa.scoring.scorer import Scorer

CroppedFace = FaceCrop | RefusedFace


class GateService:
    """Scores faces under a scorer's gate policy. Not thread-safe; share one Audit among several.

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
        self.scorer, self.gate = scorer, scorer.gate_policy(risk, ranked=ranked)
        self.audit = audit or Audit(self.gate.risk)

    def prepare(self, policies: Sequence[Policy] = (Fixed(),), batch: int = 1) -> None:
        """Load and warm what scoring may run, audits included."""
        self.scorer.prepare(policies, batch)
        self.scorer.prepare([*policies, self.gate], batch)

    def score(
        self, faces: Sequence[CroppedFace], policies: Sequence[Policy] = (Fixed(),)
    ) -> list[Record]:
        """One record a face, in order. The policies given compose with the gate."""
        if (alarm := self.audit.suspended) is not None:
            records = self.scorer.score(faces, policies)
            return [
                self._suspended(face, record, alarm)
                for face, record in zip(faces, records, strict=True)
            ]
        picked = self._picked(faces)
        gated = iter(
            self.scorer.score(
                [face for face, p in zip(faces, picked, strict=True) if not p],
                [*policies, self.gate],
            )
        )
        audited = iter(
            self.scorer.score([face for face, p in zip(faces, picked, strict=True) if p], policies)
        )
        promised = gate_alone([*policies, self.gate]) is not None
        return [
            self._audited(face, next(audited), promised) if p else next(gated)
            for face, p in zip(faces, picked, strict=True)
        ]

    def recalibrate(self) -> Calibration:
        """Refit maps and margins to the faces audited since the alarm, and trust early exits again.

        Faces of one person count as fewer; where the person is not known, those of one source do. The
        0-100 scale stays as it was. Raises ConfigError, and stays as it was, while there are too few
        faces, or of too few persons to promise anything at this gate.
        """
        (trails, persons), old = self.audit.trails, self.scorer.calibration
        assert old is not None  # there is a gate
        found = fit_calibration(
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
        if Estimator.of(found, self.gate.fusion).promise(self.gate.risk).gates[line] is None:
            raise ConfigError(
                f"{len(trails)} faces of {len(set(persons))} persons or sources are too few to "
                f"promise a risk of {self.gate.risk:g} at quality {line}; go on, and try again later"
            )
        found = msgspec.structs.replace(found, gate=old.gate, reference=old.reference)
        self.use(found)
        self.audit.restart(self.gate.risk)
        return found

    def use(self, calibration: Calibration) -> None:
        """Go on with another calibration of this model."""
        self.scorer.use(calibration)
        self.gate = self.scorer.gate_policy(self.gate.risk, ranked=self.gate.ranked)

    def _picked(self, faces: Sequence[CroppedFace]) -> list[bool]:
        found = [face for face in faces if isinstance(face, FaceCrop)]
        crops, persons = [face.crop for face in found], [face.person for face in found]
        chosen = iter(self.audit.chosen(np.stack(crops), persons).tolist() if crops else [])
        return [isinstance(face, FaceCrop) and next(chosen) for face in faces]

    def _audited(self, face: CroppedFace, record: Record, promised: bool) -> Record:
        """At full depth the decision is full depth's own; early by another policy: no audit."""
        if not self._see(face, record):
            return record
        decision = record.decision
        if promised:
            decision = Decision(
                decision.gate, decision.accepted, self.gate.risk, self.gate.confidence
            )
        return msgspec.structs.replace(
            record, exit=msgspec.structs.replace(record.exit, reason="audit"), decision=decision
        )

    def _suspended(self, face: CroppedFace, record: Record, alarm: str) -> Record:
        """alarm: as it was when scoring began; another thread may have recalibrated since."""
        self._see(face, record)
        return msgspec.structs.replace(record, warnings=(*record.warnings, alarm))

    def _see(self, face: CroppedFace, record: Record) -> bool:
        """Was this record complete, and so seen by the audit?"""
        scores = record.exit.scores
        if isinstance(face, RefusedFace) or record.quality.code != "ok" or None in scores:
            return False
        trail = np.array([scores], np.float32)
        flipped = bool(self.gate.replay(trail).flipped[0])
        self.audit.see(trail[0], flipped, face.person, face.source)
        return True
