"""What every worker opens, as plain values that Ray sends it, and how it opens them.

All workers compute with the same form of the model, whatever their processors, and a worker that would
not is refused: its scores would differ.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from edge_fiqa import __version__
from edge_fiqa.distributed.shard_scorer import WorkerParts
from edge_fiqa.engines.forms import open_form
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.landmarks import read_landmarks
from edge_fiqa.files import sha256
from edge_fiqa.scoring.requests import ScoringRequest
from edge_fiqa.scoring.run_settings import RunSettings
from edge_fiqa.types import Precision


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """bundle: a shipped model's name, or an absolute path that every machine sees.

    folder: the driver's current one, from which relative paths are read. must_exist: local inputs.
    """

    version: str = __version__
    folder: str
    must_exist: tuple[str, ...]
    bundle: str
    precision: Precision
    fingerprint: str
    scoring: ScoringRequest
    detector_sha256: str | None

    def open(self) -> WorkerParts:
        """Raises EdgeFiqaError where this machine cannot do the same as the others."""
        self._check_machine()
        scoring = self.scoring
        bundle = open_form(
            self.bundle,
            threads=scoring.threads,
            precision=self.precision,
            backend=scoring.backend,
        )
        if bundle.manifest.fingerprint != self.fingerprint:
            raise ConfigError(f"{_here()}: {self.bundle} is another model there")
        scorer = scoring.scorer(bundle)
        (service,), _ = scoring.services([scorer])
        file = scoring.faces.landmarks
        landmarks = read_landmarks(file) if file is not None else None
        reader = scoring.faces.reader(landmarks, scoring.threads)
        return WorkerParts(scorer, service, reader, scoring.policies)

    def settings(self) -> RunSettings:
        """What scores depend on, in words; raises as `open`, and for an exit that there is not."""
        parts = self.open()
        with parts.scorer:
            parts.service.prepare(parts.policies)
            settings = self.scoring.settings(parts.service)
        faces = self.scoring.faces
        crops = "square ones of any size" if faces.aligned else "of 112x112"
        pixels = f"{faces.max_pixels / 1e6:g} megapixels"
        described = {**settings.described, "aligned crops": crops, "largest picture": pixels}
        return replace(settings, described=described)

    def _check_machine(self) -> None:
        if __version__ != self.version:
            raise ConfigError(
                f"{_here()} has edge_fiqa {__version__}, not {self.version}; install one version"
            )
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        for name in self.must_exist:
            if not Path(name).exists():
                raise ConfigError(
                    f"{_here()} does not see {name}: put it where every machine has it, or into object "
                    "storage"
                )
        detector = self.scoring.faces.detector
        if detector is not None and (
            not detector.is_file() or sha256(detector) != self.detector_sha256
        ):
            raise ConfigError(
                f"{_here()} does not have the detector {detector}; give --detector FILE"
            )


def _here() -> str:
    return os.uname().nodename if os.name == "posix" else "a worker"
