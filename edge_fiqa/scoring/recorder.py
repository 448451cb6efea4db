"""From an assessment to records: scales, decisions and failures put into words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edge_fiqa.calibration.estimate import Estimator, QualityEstimates
from edge_fiqa.faces.sources import FaceCrop, RefusedFace, face_warnings
from edge_fiqa.policies.gate import Gate, gate_alone
from edge_fiqa.policies.policy import Policy, Reason
from edge_fiqa.reasons.limits import CauseLimits
from edge_fiqa.reasons.report import Reasons, reasons_of
from edge_fiqa.record import Algorithm, Cost, Decision, Exit, Quality, Record
from edge_fiqa.scoring.controller import Assessment
from edge_fiqa.types import Array


class Recorder:
    """Makes the records of one model under one calibration.

    calibrated: what records call the calibration. Without an estimator they have no 0-100 quality,
    without limits of causes no reasons.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        exits: int,
        fusion: str,
        estimator: Estimator | None,
        calibrated: str | None,
        gate: int | None,
        limits: CauseLimits | None = None,
    ) -> None:
        self.algorithm, self.exits, self.fusion = algorithm, exits, fusion
        self.estimator, self.calibrated, self.gate = estimator, calibrated, gate
        self.limits = limits

    def records(
        self, crops: Sequence[FaceCrop], assessment: Assessment, policies: Sequence[Policy]
    ) -> Iterator[Record]:
        """One record per crop, in order."""
        judged = None
        if self.estimator is not None:
            judged = self.estimator.qualities(assessment.score, assessment.depth)
        policy = next((policy for policy in policies if isinstance(policy, Gate)), None)
        promised = gate_alone(policies) is not None and assessment.planned == self.exits
        for row, crop in enumerate(crops):
            quality = self._quality(assessment, judged, row)
            reason = assessment.reason[row]
            yield Record(
                id=crop.id,
                source=crop.source,
                box=crop.box,
                landmarks=crop.landmarks,
                quality=quality,
                exit=Exit(
                    int(assessment.depth[row]),
                    reason,
                    _finite_or_none(assessment.trail[row]),
                    self.fusion,
                ),
                cost=Cost(
                    round(float(assessment.gflops[row]), 6),
                    round(float(assessment.ms[row]), 4),
                    _rounded_or_none(assessment.mj[row]),
                ),
                decision=self._decide(quality, reason if promised else None, policy),
                reasons=self._reasons(assessment, row) if quality.code == "ok" else None,
                warnings=(*crop.warnings, *face_warnings(crop)),
            )

    def refused(self, face: RefusedFace) -> Record:
        """The record of a face that could not be scored."""
        return Record(
            id=face.id,
            source=face.source,
            box=face.box,
            landmarks=face.landmarks,
            quality=Quality(None, None, None, face.code, self.algorithm, None),
            exit=Exit(None, None, (None,) * self.exits, self.fusion),
            cost=Cost(None, None, None),
            decision=Decision(self.gate, None if self.gate is None else False, None, None),
            warnings=(face.reason,),
        )

    def _quality(
        self, assessment: Assessment, judged: QualityEstimates | None, row: int
    ) -> Quality:
        raw = float(assessment.score[row])
        if not np.isfinite(raw):
            return Quality(None, None, None, "not_finite", self.algorithm, None)
        if judged is None:
            return Quality(None, raw, None, "ok", self.algorithm, None)
        interval = (int(judged.low[row]), int(judged.high[row]))
        scalar = int(judged.quality[row])
        return Quality(scalar, raw, interval, "ok", self.algorithm, self.calibrated)

    def _reasons(self, assessment: Assessment, row: int) -> Reasons | None:
        if self.limits is None or assessment.causes is None:
            return None
        return reasons_of(assessment.causes[row], int(assessment.depth[row]), self.limits)

    def _decide(self, quality: Quality, reason: Reason | None, policy: Gate | None) -> Decision:
        """Risk and confidence are stated where the gate policy's promise holds, else None.

        reason: for stopping, None where there is no promise."""
        gate = self.gate if policy is None else policy.gate
        if gate is None:
            return Decision(None, None, None, None)
        accepted = quality.scalar is not None and quality.scalar >= gate
        if policy is None or reason not in ("gate", "full"):
            return Decision(gate, accepted, None, None)
        return Decision(gate, accepted, policy.risk, policy.confidence)


def _rounded_or_none(mj: float) -> float | None:
    return round(float(mj), 4) if np.isfinite(mj) else None


def _finite_or_none(trail: Array) -> tuple[float | None, ...]:
    return tuple(float(score) if np.isfinite(score) else None for score in trail)
