"""The library's front door: open a bundle, hand in faces, get records.

from edge_fiqa import Scorer
with Scorer.open() as scorer:                      # the default model
    record = scorer.score_face(crop)               # (112, 112, 3) uint8 RGB, aligned
    print(record.quality.scalar, record.exit.depth)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_fiqa.bundle import Bundle
from edge_fiqa.controller import Assessment, Controller
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.errors import ConfigError, FailureCode
from edge_fiqa.fusion import Fusion
from edge_fiqa.measure import cost_table
from edge_fiqa.policy import Fixed, Policy
from edge_fiqa.record import Algorithm, Code, Cost, Decision, Exit, Quality, Record
from edge_fiqa.sources import FaceCrop, RefusedFace
from edge_fiqa.types import Array, Bytes

PORTABLE_BACKENDS = {"ov": "openvino", "ort": "onnxruntime"}


class Scorer:
    """One model on one engine, with one fusion rule and gate. Not thread-safe: one per thread."""

    def __init__(
        self, bundle: Bundle, engine: Engine, fusion: Fusion = "FW", gate: int | None = None
    ) -> None:
        if gate is not None and not 0 <= gate <= 100:
            raise ConfigError(f"a gate is a quality from 0 to 100, got {gate}")
        manifest = bundle.manifest
        self.fusion = fusion if isinstance(fusion, str) else ",".join(f"{w:g}" for w in fusion)
        self.moments = (manifest.scale or {}).get(self.fusion)
        if gate is not None and self.moments is None:
            raise ConfigError(
                f"a gate needs a 0-100 scale, and {bundle.folder} has none for fusion {self.fusion}"
            )
        self.bundle, self.engine, self.gate = bundle, engine, gate
        self.controller = Controller(engine, bundle.costs, fusion)
        self._algorithm = Algorithm(manifest.name, manifest.edge_fiqa, manifest.fingerprint)

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str = "nano",
        *,
        backend: str | None = None,
        threads: int | None = None,
        fusion: Fusion = "FW",
        gate: int | None = None,
    ) -> Scorer:
        """Open a bundle, or a shipped model by its name, on a backend.

        Raises BundleError, BackendMissing, EngineFailed or ConfigError.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle)
        name = backend or available_backend(bundle)
        return cls(bundle, open_engine(bundle, name, threads), fusion, gate)

    def prepare(self, policies: Sequence[Policy] = (Fixed(),), batch: int = 1) -> None:
        """Load and warm what these policies need, so that the first face is as fast as the rest.

        Policies in ms need a cost table of *this* engine: where the bundle's was measured on another
        device, backend or number of threads, it is measured here. Raises ConfigError for an exit
        that the bundle does not have.
        """
        costs, engine = self.bundle.manifest.costs, self.engine
        measured_on = (costs.device, costs.backend, costs.threads)
        if any(policy.needs_ms for policy in policies) and measured_on != (
            engine.device,
            engine.backend,
            engine.threads,
        ):
            self.controller.costs = cost_table(engine)
        self.controller.prepare(policies, batch)

    def assess(self, faces: Bytes, policies: Sequence[Policy] = (Fixed(),)) -> Assessment:
        """(N, 112, 112, 3) uint8 RGB aligned crops -> arrays, the fastest form."""
        return self.controller.assess(faces, policies)

    def score_face(self, face: Bytes, policies: Sequence[Policy] = (Fixed(),)) -> Record:
        """One aligned crop (112, 112, 3) uint8 RGB -> its record."""
        return self.score([FaceCrop("face#0", "face", face)], policies)[0]

    def score(
        self, faces: Sequence[FaceCrop | RefusedFace], policies: Sequence[Policy] = (Fixed(),)
    ) -> list[Record]:
        """The faces found in an image -> one record each, in order; refused ones keep theirs."""
        crops = [face for face in faces if isinstance(face, FaceCrop)]
        scored: list[Record] = []
        if crops:
            assessment = self.assess(np.stack([crop.crop for crop in crops]), policies)
            scored = [self._record(crop, assessment, row) for row, crop in enumerate(crops)]
        rest = iter(scored)
        return [self._refused(f) if isinstance(f, RefusedFace) else next(rest) for f in faces]

    def _refused(self, face: RefusedFace) -> Record:
        return Record(
            id=face.id,
            source=face.source,
            box=face.box,
            landmarks=face.landmarks,
            quality=self._no_quality(face.code),
            exit=Exit(None, None, (None,) * self.bundle.config.depth, self.fusion),
            cost=Cost(None, None, None),
            decision=Decision(self.gate, None if self.gate is None else False, None, None),
            warnings=(face.reason,),
        )

    def _record(self, crop: FaceCrop, assessment: Assessment, row: int) -> Record:
        depth, raw = int(assessment.depth[row]), float(assessment.score[row])
        if np.isfinite(raw):
            scalar = self.moments.quality(raw, depth) if self.moments else None
            calibration = "moments" if self.moments else None
            quality = Quality(scalar, raw, None, "ok", self._algorithm, calibration)
        else:
            quality = self._no_quality("not_finite")
        accepted = None
        if self.gate is not None:
            accepted = quality.scalar is not None and quality.scalar >= self.gate
        return Record(
            id=crop.id,
            source=crop.source,
            box=crop.box,
            landmarks=crop.landmarks,
            quality=quality,
            exit=Exit(
                depth, assessment.reason[row], _finite_or_none(assessment.trail[row]), self.fusion
            ),
            cost=Cost(
                round(float(assessment.gflops[row]), 6), round(float(assessment.ms[row]), 4), None
            ),
            decision=Decision(self.gate, accepted, None, None),
            warnings=crop.warnings,
        )

    def _no_quality(self, code: FailureCode) -> Quality:
        known: Code = code
        return Quality(None, None, None, known, self._algorithm, None)

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def available_backend(bundle: Bundle) -> str:
    """The bundle's own backend; for portable bundles the other portable one where it is absent."""
    wanted = bundle.manifest.backend
    if wanted in PORTABLE_BACKENDS and bundle.manifest.precision != "bf16":
        for name in (wanted, *PORTABLE_BACKENDS):
            if importlib.util.find_spec(PORTABLE_BACKENDS[name]) is not None:
                return name
    return wanted


def _finite_or_none(trail: Array) -> tuple[float | None, ...]:
    return tuple(float(score) if np.isfinite(score) else None for score in trail)
