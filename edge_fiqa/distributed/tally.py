"""What a run over many workers did so far: faces by code, warnings of drift of all together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.monitor import Finding, Monitor
from edge_fiqa.distributed.shard_scorer import ShardDone


@dataclass
class RunTally:
    """shards, pictures, faces (by code): of this run. suspended: what audits say of early exits.

    landmarks: whether any name of the landmark file was used.
    """

    shards: int = 0
    pictures: int = 0
    faces: Counter[str] = field(default_factory=Counter)
    suspended: list[str] = field(default_factory=list)
    landmarks: bool = False
    _drift: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def add(self, done: ShardDone) -> None:
        self.shards += 1
        self.pictures += done.pictures
        self.faces.update(done.faces)
        self.landmarks |= done.landmarks
        if done.drift:
            self._drift[done.worker] = done.drift  # since the worker began: the last one counts
        if done.suspended is not None and done.suspended not in self.suspended:
            self.suspended.append(done.suspended)

    @property
    def failed(self) -> int:
        return self.faces.total() - self.faces["ok"]

    def codes(self) -> dict[str, int]:
        """Faces without a score, by code."""
        return {code: count for code, count in sorted(self.faces.items()) if code != "ok"}

    def findings(self, calibration: Calibration | None) -> list[Finding]:
        """What is wrong with the faces of all workers together, also of those that died."""
        if calibration is None or calibration.reference is None:
            return []
        monitor = Monitor(calibration.reference)
        for counts in self._drift.values():
            monitor.add(counts)
        return monitor.findings()
