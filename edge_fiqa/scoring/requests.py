"""What a run of scoring is asked for: how faces are found, how a gate decides.

Plain values, which another process can be sent; what they open is opened where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.audit import Audit
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.faces.detector import LONGEST_SIDE, MIN_SCORE
from edge_fiqa.faces.images import MAX_PIXELS
from edge_fiqa.faces.landmarks import Landmarks
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.faces.sources import FaceReader
from edge_fiqa.policies.policy import Policy
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.run_settings import RunSettings, settings_of
from edge_fiqa.scoring.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class GatePolicyRequest:
    """`--policy gate`. risk: None for the calibration's first."""

    risk: float | None
    ranked: int | None
    audit_share: float

    def audit(self, scorer: Scorer) -> Audit:
        """That several services may share."""
        return Audit(scorer.gate_policy(self.risk).risk, self.audit_share)

    def service(self, scorer: Scorer, audit: Audit) -> GateService:
        return GateService(scorer, self.risk, audit, ranked=self.ranked)


@dataclass(frozen=True, kw_only=True)
class FaceRequest:
    """How faces come out of images; without detector and landmarks, images are aligned crops.

    crops_pass: images of 112x112 are crops, the detector gets the others.
    aligned: square images of any size are, whether or not there is a detector.
    """

    detector: Path | None
    landmarks: Path | None
    min_eye_px: float
    aligned: bool = False
    crops_pass: bool = False
    detector_size: int = LONGEST_SIDE
    min_score: float = MIN_SCORE
    largest: bool = False
    all_turns: bool = False
    max_pixels: int = MAX_PIXELS

    @property
    def detection(self) -> str:
        """In words, for the run's settings."""
        turns, faces = "all" if self.all_turns else "as needed", "one" if self.largest else "all"
        return f"size={self.detector_size} score={self.min_score:g} turns={turns} faces={faces}"

    def reader(self, landmarks: Landmarks | None, threads: int) -> FaceReader:
        """landmarks: what `self.landmarks` holds. threads: of the detector."""
        detector = None
        if self.detector is not None:
            detector = PhotoDetector(
                self.detector,
                self.min_score,
                self.detector_size,
                all_turns=self.all_turns,
                threads=threads,
            )
        return FaceReader(
            detector,
            landmarks,
            self.min_eye_px,
            crops_pass=self.crops_pass,
            aligned=self.aligned,
            largest=self.largest,
            max_pixels=self.max_pixels,
        )


@dataclass(frozen=True, kw_only=True)
class ScoringRequest:
    """How faces are scored, on this machine or by a worker. backend: None for the bundle's.

    threads: of one engine.
    """

    backend: str | None
    threads: int
    fusion: Fusion
    calibration: Calibration | None
    gate: int | None
    policies: tuple[Policy, ...]
    gate_policy: GatePolicyRequest | None
    faces: FaceRequest

    def scorer(self, bundle: Bundle) -> Scorer:
        return Scorer.open(
            bundle,
            backend=self.backend,
            threads=self.threads,
            fusion=self.fusion,
            gate=self.gate,
            calibration=self.calibration,
        )

    def services(
        self, scorers: Sequence[Scorer]
    ) -> tuple[Sequence[Scorer | GateService], Audit | None]:
        """What scores, not warmed yet. Under the gate policy all share one audit."""
        gated = self.gate_policy
        if gated is None:
            return scorers, None
        audit = gated.audit(scorers[0])
        return [gated.service(scorer, audit) for scorer in scorers], audit

    def settings(self, service: Scorer | GateService) -> RunSettings:
        """What a run's scores depend on, in words. service: one of `services`."""
        return settings_of(
            service.scorer if isinstance(service, GateService) else service,
            self.policies,
            gate=service.gate if isinstance(service, GateService) else None,
            audit_share=self.gate_policy.audit_share if self.gate_policy else None,
            detector=self.faces.detector,
            landmarks=self.faces.landmarks,
            min_eye_px=self.faces.min_eye_px,
            crops_pass=self.faces.crops_pass,
            detection=self.faces.detection,
        )
