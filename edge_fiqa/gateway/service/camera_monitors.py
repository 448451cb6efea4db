"""What each camera's faces look like, against the faces of the calibration."""

from __future__ import annotations

import threading

from edge_fiqa.calibration.monitor import Monitor
from edge_fiqa.calibration.reference import Reference
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes


class CameraMonitors:
    """One monitor for each camera. Without a reference there are no warnings. Thread-safe."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        self._monitors: dict[str, Monitor] = {}
        self._lock = threading.Lock()

    def see(self, camera: str, crop: Bytes, record: Record) -> None:
        """crop: (112, 112, 3) uint8 RGB."""
        if self._reference is None:
            return
        with self._lock:
            monitor = self._monitors.setdefault(camera, Monitor(self._reference))
            monitor.see(crop, record.quality.scalar)

    def warnings(self, camera: str) -> list[str]:
        with self._lock:
            monitor = self._monitors.get(camera)
            findings = [] if monitor is None else monitor.findings()
            return [finding.message for finding in findings]
