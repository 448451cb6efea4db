"""The library's front door: open a bundle, hand in faces, get records.

from edge_fiqa import Scorer
with Scorer.open() as scorer:                      # the default model
    record = scorer.score_face(crop)               # (112, 112, 3) uint8 RGB, aligned
    print(record.quality.scalar, record.exit.depth)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.calibration.estimate import Estimator, rule_name
from edge_fiqa.calibration.monitor import Monitor
from edge_fiqa.calibration.scale import form_of
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.measurement.segment_costs import cost_table
from edge_fiqa.policies.gate import Gate, check_gate
from edge_fiqa.policies.policy import Fixed, Policy
from edge_fiqa.record import Algorithm, Record
from edge_fiqa.scoring.controller import Assessment, Controller
from edge_fiqa.scoring.recorder import Recorder
from edge_fiqa.types import Bytes

PORTABLE_BACKENDS = {"ov": "openvino", "ort": "onnxruntime"}


class Scorer:
    """One model on one engine, with one fusion rule and gate. Not thread-safe: one per thread.

    calibration: another one than the bundle's own. Without any, or without this fusion rule in it,
    records have no 0-100 quality.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        fusion: Fusion = "FW",
        gate: int | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        if gate is not None:
            check_gate(gate)
        self.bundle, self.engine, self.fusion = bundle, engine, rule_name(fusion)
        costs = bundle.costs
        if not self._measured_here():
            costs = replace(costs, mj={})  # another device's joules are not ours
        self.controller = Controller(engine, costs, fusion)
        self._asked_gate = gate
        self.use(calibration or bundle.calibration)

    def use(self, calibration: Calibration | None) -> None:
        """Go on with another calibration of this model, or none.

        Its recommended gate is taken where none was asked for. Raises ConfigError if there is a
        gate but no calibration for this fusion rule.
        """
        gate, estimator, name = self._asked_gate, None, None
        if calibration is not None and calibration.exits[-1] != self.bundle.config.depth:
            raise ConfigError(
                f"the calibration is of {calibration.exits[-1]} exits, {self.bundle.folder} has "
                f"{self.bundle.config.depth}; run edge-fiqa calibrate with this bundle"
            )
        if calibration is not None and self.fusion in calibration.rules:
            estimator = Estimator.of(calibration, self.controller.fusion)
            name = f"{form_of(estimator.scale)}:{calibration.id}"
            gate = calibration.gate if gate is None else gate
        if gate is not None and estimator is None:
            raise ConfigError(
                f"a gate needs a 0-100 scale, and {self.bundle.folder} is not calibrated for "
                f"fusion {self.fusion}; run edge-fiqa calibrate"
            )
        self.calibration, self.estimator, self.gate = calibration, estimator, gate
        self.calibrated = name
        self.monitor = None
        if calibration is not None and calibration.reference is not None:
            self.monitor = Monitor(calibration.reference)
        self.controller.estimator = estimator
        manifest = self.bundle.manifest
        self._recorder = Recorder(
            Algorithm(manifest.name, manifest.edge_fiqa, manifest.fingerprint),
            self.bundle.config.depth,
            self.fusion,
            estimator,
            name,
            gate,
        )

    def set_gate(self, gate: int | None) -> None:
        """Go on with another gate, or the calibration's own. Raises ConfigError as `use` does."""
        if gate is not None:
            check_gate(gate)
        self._asked_gate = gate
        self.use(self.calibration)

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str = "nano",
        *,
        backend: str | None = None,
        threads: int | None = None,
        fusion: Fusion = "FW",
        gate: int | None = None,
        calibration: Calibration | Path | None = None,
    ) -> Scorer:
        """Open a bundle, or a shipped model by its name, on a backend.

        Raises BundleError, BackendMissing, EngineFailed or ConfigError.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle)
        if isinstance(calibration, Path):
            calibration = load_calibration(calibration, bundle.manifest.fingerprint)
        name = backend or available_backend(bundle)
        return cls(bundle, open_engine(bundle, name, threads), fusion, gate, calibration)

    def gate_policy(self, risk: float | None = None, *, ranked: int | None = None) -> Gate:
        """The policy that stops once this scorer's gate is decided, at a promised risk of flips.

        risk None: the calibration's first. ranked: faces below this quality, and below
        the gate, run to full depth, so that they can be sorted. Raises ConfigError without gate or
        such a promise.
        """
        if self.gate is None or self.calibration is None:
            raise ConfigError("a gate policy needs a gate: --gate Q, or Scorer.open(..., gate=Q)")
        return Gate.of(
            self.calibration,
            self.gate,
            exits=self.controller.exits,
            fusion=self.controller.fusion,
            risk=risk,
            ranked=ranked,
        )

    def prepare(self, policies: Sequence[Policy] = (Fixed(),), batch: int = 1) -> None:
        """Load and warm what these policies need, so that the first face is as fast as the rest.

        Policies in ms need a cost table of *this* engine: where the bundle's was measured on another
        device, backend or number of threads, it is measured here. Raises ConfigError for an exit
        that the bundle does not have.
        """
        if any(policy.needs_ms for policy in policies) and not self._measured_here():
            self.controller.costs = cost_table(self.engine)
        self.controller.prepare(policies, batch)

    def _measured_here(self) -> bool:
        """Whether the bundle's cost table is of this engine."""
        costs, engine = self.bundle.manifest.costs, self.engine
        measured_on = (costs.device, costs.backend, costs.threads)
        return measured_on == (engine.device, engine.backend, engine.threads)

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
            scored = list(self._recorder.records(crops, assessment, policies))
            if self.monitor is not None:
                for crop, record in zip(crops, scored, strict=True):
                    self.monitor.see(crop.crop, record.quality.scalar)
        rest, refused = iter(scored), self._recorder.refused
        return [refused(face) if isinstance(face, RefusedFace) else next(rest) for face in faces]

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
