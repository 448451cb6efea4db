"""The library's front door: open a bundle, hand in faces, get records.

from edge_fiqa import Scorer
with Scorer.open() as scorer:                      # the default model
    record = scorer.score_face(crop)               # (112, 112, 3) uint8 RGB, aligned
    print(record.quality.scalar, record.exit.depth)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_fiqa.arguments import whole_number
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.cause_limits import check_limits
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.calibration.estimate import Estimator, rule_name
from edge_fiqa.calibration.monitor import Monitor
from edge_fiqa.calibration.scale import form_of
from edge_fiqa.engines import cores, open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.engines.forms import PORTABLE_BACKENDS, is_installed, open_form
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.measurement.kept_costs import kept_cost_table
from edge_fiqa.policies.gate import Gate, check_gate
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import Algorithm, Record
from edge_fiqa.scoring.controller import Assessment, Controller
from edge_fiqa.scoring.inputs import (
    FULL_DEPTH,
    Face,
    Policies,
    ScoredFace,
    as_crops,
    as_face,
    as_faces,
    as_policies,
)
from edge_fiqa.scoring.pool import ControllerPool
from edge_fiqa.scoring.recorder import Recorder
from edge_fiqa.types import Bytes, Precision


@dataclass(frozen=True)
class ScoreScale:
    """What a calibration makes of raw scores. One call uses one of these from its begin to its end.

    name: what records call the calibration. estimator, name: None without a 0-100 quality.
    """

    calibration: Calibration | None
    estimator: Estimator | None
    name: str | None
    gate: int | None
    recorder: Recorder


class Scorer:
    """One model with one fusion rule and gate, on one engine or several equal ones.

    Threads may share it: each call has an engine to itself and waits where none is free. It cannot be
    used in a forked child process. Closed, it raises EngineFailed.

    calibration: another one than the bundle's own. Without any, or without this fusion rule in it,
    records have no 0-100 quality. Raises ConfigError for faces and policies that are none
    (`scoring/inputs.py` says what may be given).
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine | Sequence[Engine],
        fusion: Fusion = "FW",
        gate: int | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        if gate is not None:
            gate = check_gate(gate)
        engines = engine if isinstance(engine, Sequence) else (engine,)
        self.bundle, self.engine, self.fusion = bundle, engines[0], rule_name(fusion)
        costs = bundle.costs
        if not self._measured_here():
            costs = replace(costs, mj={})  # another device's joules are not ours
        self._pool = ControllerPool([Controller(each, costs, fusion) for each in engines])
        self.controller = self._pool.controllers[0]
        self._changing, self._asked_gate = threading.Lock(), gate
        self._take_up(calibration or bundle.calibration, gate)

    @property
    def workers(self) -> int:
        """How many calls are served at the same time."""
        return len(self._pool.controllers)

    @property
    def calibration(self) -> Calibration | None:
        return self.scale.calibration

    @property
    def estimator(self) -> Estimator | None:
        return self.scale.estimator

    @property
    def gate(self) -> int | None:
        return self.scale.gate

    @property
    def calibrated(self) -> str | None:
        """What records call the calibration; None without one for this fusion rule."""
        return self.scale.name

    def use(self, calibration: Calibration | None) -> None:
        """Go on with another calibration of this model, or none. Calls under way end with theirs.

        Its recommended gate is taken where none was asked for. Raises ConfigError if there is a
        gate but no calibration for this fusion rule.
        """
        with self._changing:
            self._take_up(calibration, self._asked_gate)

    def set_gate(self, gate: int | None) -> None:
        """Go on with another gate, or the calibration's own. Raises ConfigError as `use` does."""
        if gate is not None:
            gate = check_gate(gate)
        with self._changing:
            self._take_up(self.calibration, gate)
            self._asked_gate = gate

    def _take_up(self, calibration: Calibration | None, asked_gate: int | None) -> None:
        self.scale = self._scale_of(calibration, asked_gate)
        self.monitor = None
        if calibration is not None and calibration.reference is not None:
            self.monitor = Monitor(calibration.reference)

    def _scale_of(self, calibration: Calibration | None, gate: int | None) -> ScoreScale:
        estimator, name, config = None, None, self.bundle.config
        if calibration is not None and calibration.exits[-1] != config.depth:
            raise ConfigError(
                f"the calibration is of {calibration.exits[-1]} exits, {self.bundle.folder} has "
                f"{config.depth}; run edge-fiqa calibrate with this bundle"
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
        manifest = self.bundle.manifest
        algorithm = Algorithm(manifest.name, manifest.edge_fiqa, manifest.fingerprint)
        limits = None
        if calibration is not None:
            check_limits(calibration, manifest.cause_heads, self.bundle.folder)
            limits = calibration.causes
        recorder = Recorder(algorithm, config.depth, self.fusion, estimator, name, gate, limits)
        return ScoreScale(calibration, estimator, name, gate, recorder)

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str = "nano",
        *,
        precision: Precision | None = None,
        backend: str | None = None,
        threads: int | None = None,
        fusion: Fusion = "FW",
        gate: int | None = None,
        calibration: Calibration | Path | str | None = None,
        workers: int = 1,
    ) -> Scorer:
        """Open a bundle, or a shipped model by its name, on a backend.

        Of a shipped model, the form that this machine computes fastest, if neither precision nor
        backend says which.
        threads: that one face is computed with; None: all processors, shared between the workers.
        workers: engines, and so faces that threads may have scored at the same time.
        Raises BundleError, BackendMissing, EngineFailed or ConfigError.
        """
        workers = whole_number("workers", workers, 1)
        if workers > 1 and threads is None:
            threads = max(1, cores() // workers)
        bundle = open_form(bundle, threads=threads, precision=precision, backend=backend)
        if isinstance(calibration, (str, Path)):
            calibration = load_calibration(Path(calibration), bundle.manifest.fingerprint)
        name = backend or available_backend(bundle)
        with ExitStack() as opened:
            engines = [
                opened.enter_context(open_engine(bundle, name, threads)) for _ in range(workers)
            ]
            scorer = cls(bundle, engines, fusion, gate, calibration)
            opened.pop_all()
        return scorer

    def gate_policy(self, risk: float | None = None, *, ranked: int | None = None) -> Gate:
        """The policy that stops once this scorer's gate is decided, at a promised risk of flips.

        Rejected faces go on to the next exit that reports causes, if the model reads any. risk None:
        the calibration's first. ranked: faces below this quality, and below the gate, run to full
        depth, so that they can be sorted. Raises ConfigError without gate or such a promise.
        """
        scale = self.scale
        if scale.gate is None or scale.calibration is None:
            raise ConfigError("a gate policy needs a gate: --gate Q, or Scorer.open(..., gate=Q)")
        policy = Gate.of(
            scale.calibration,
            scale.gate,
            exits=self.controller.exits,
            fusion=self.controller.fusion,
            risk=risk,
            ranked=ranked,
        )
        return policy if self.engine.causes else replace(policy, reasons_at=())

    def prepare(self, policies: Policies = FULL_DEPTH, batch: int = 1) -> None:
        """Load and warm what these policies need, so that the first face is as fast as the rest.

        Policies in ms need a cost table of *this* engine: where the bundle's was measured on another
        device, backend or number of threads, it is measured here, once for this machine (see
        measurement/kept_costs.py). Raises ConfigError for an exit
        that the bundle does not have.
        """
        listed = as_policies(policies)
        measure = any(policy.needs_ms for policy in listed) and not self._measured_here()
        costs = None
        for each in self._pool.controllers:
            with self._pool.take(each) as controller:
                if measure:
                    costs = costs or kept_cost_table(controller.engine, self.bundle)
                    controller.costs = costs
                controller.prepare(listed, batch)

    def _measured_here(self) -> bool:
        """Whether the bundle's cost table is of this engine."""
        costs, engine = self.bundle.manifest.costs, self.engine
        measured_on = (costs.device, costs.backend, costs.threads)
        return measured_on == (engine.device, engine.backend, engine.threads)

    def assess(self, faces: Bytes | Iterable[Face], policies: Policies = FULL_DEPTH) -> Assessment:
        """(N, 112, 112, 3) uint8 RGB aligned crops -> arrays, the fastest form."""
        self.check_open()
        return self._assess(as_crops(faces), as_policies(policies), self.scale)

    def score_face(self, face: Face, policies: Policies = FULL_DEPTH) -> Record:
        """One aligned crop (112, 112, 3) uint8 RGB, or the path of one -> its record."""
        self.check_open()
        return self.score_on(self.scale, [as_face(face)], as_policies(policies))[0]

    def score(self, faces: Iterable[Face] | Bytes, policies: Policies = FULL_DEPTH) -> list[Record]:
        """Faces -> one record each, in order; refused ones and unreadable files keep their place."""
        self.check_open()
        return self.score_on(self.scale, as_faces(faces), as_policies(policies))

    def score_on(
        self, scale: ScoreScale, faces: Sequence[ScoredFace], policies: Sequence[Policy]
    ) -> list[Record]:
        """As `score`, on a scale that was read before, of inputs that were checked before."""
        crops = [face for face in faces if isinstance(face, FaceCrop)]
        scored: list[Record] = []
        if crops:
            pixels = np.stack([crop.crop for crop in crops])
            assessment = self._assess(pixels, policies, scale)
            scored = list(scale.recorder.records(crops, assessment, policies))
            monitor = self.monitor  # of this calibration, unless `use` came between
            if monitor is not None and scale.calibration is self.calibration:
                for crop, record in zip(crops, scored, strict=True):
                    monitor.see(crop.crop, record.quality.scalar)
        rest, refused = iter(scored), scale.recorder.refused
        return [refused(face) if isinstance(face, RefusedFace) else next(rest) for face in faces]

    def _assess(self, faces: Bytes, policies: Sequence[Policy], scale: ScoreScale) -> Assessment:
        begin = self.controller.clock()
        with self._pool.take() as controller:
            controller.estimator = scale.estimator
            return controller.assess(faces, policies, begin)

    def check_open(self) -> None:
        """Raises EngineFailed if it is closed, or was opened before a fork."""
        self._pool.check_open()

    def close(self) -> None:
        """Free the engines once the calls under way have ended. Safe to call twice."""
        self._pool.close()

    def __reduce__(self) -> str:
        raise ConfigError("a Scorer cannot be sent to another process; open it in each process")

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def available_backend(bundle: Bundle) -> str:
    """The bundle's own backend; for portable bundles the other portable one where it is absent."""
    wanted = bundle.backend
    if wanted in PORTABLE_BACKENDS and bundle.manifest.precision != "bf16":
        for name in (wanted, *PORTABLE_BACKENDS):
            if is_installed(name):
                return name
    return wanted
