"""The View of a gateway, from its first moment to its last: for HTTP, MQTT, metrics and the page.

Starting takes minutes where an engine has to build.
A client that asks meanwhile is told what is being built.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_fiqa.errors import Overloaded
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.events.person import by_depth
from edge_fiqa.gateway.events.pictures import to_jpeg
from edge_fiqa.gateway.queue.face_queue import FaceQueue
from edge_fiqa.gateway.queue.health import Health
from edge_fiqa.gateway.queue.worker import Worker
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.service.camera_monitors import CameraMonitors
from edge_fiqa.gateway.service.pushed_faces import PushedFaces
from edge_fiqa.gateway.video.camera import Camera
from edge_fiqa.gateway.view import CameraView, Totals, TrackView
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes, Point


@dataclass
class RunningParts:
    """What the view reads of a gateway that runs.

    exits: of the model. causes: of low quality, which it reads.
    detector: its health.
    cameras: those that are watched now; a reload replaces them.
    """

    exits: int
    detector: Health
    queue: FaceQueue
    workers: Sequence[Worker]
    events: EventBuilder
    monitors: CameraMonitors
    pushed: PushedFaces
    causes: Sequence[str] = ()
    cameras: Mapping[str, Camera] = field(default_factory=dict)

    def camera_view(self, name: str, camera: Camera) -> CameraView:
        status = camera.status
        warnings = self.monitors.warnings(name)
        if status.problem is not None:
            warnings = [status.problem, *warnings]
        if status.state == "stale" and status.frame_age_s is not None:
            warnings = [f"no frame for {status.frame_age_s:.0f} s", *warnings]
        return CameraView(
            name=name,
            state=status.state,
            frame_age_s=status.frame_age_s,
            frames=status.frames,
            frames_per_s=status.frames_per_s,
            dropped_frames=status.dropped_frames,
            reconnects=status.reconnects,
            size=status.size,
            faces=self.events.faces(name),
            people=self.events.people(name),
            warnings=warnings,
            masks=camera.config.mask_polygons,
            zones=camera.config.zones,
        )

    def totals(self, started: float) -> Totals:
        counts, latency_s = self.events.totals()
        return Totals(
            started=started,
            faces_found=counts.detected,
            faces_scored=counts.scored,
            skipped=dict(counts.skipped),
            depths=by_depth(counts.depths, self.exits),
            misses=counts.misses,
            detector_failures=self.detector.failures,
            events=dict(counts.events),
            load=self.queue.load,
            latency_s=latency_s,
            energy_j=None if counts.energy_mj is None else counts.energy_mj / 1000,
        )


class LiveView:
    """Implements View. Until `show` it says that the gateway is starting.

    building: what is being built, while the gateway starts and later.
    """

    def __init__(self, model: str, backend: str, building: BuildWatch) -> None:
        self.model, self.backend, self.building = model, backend, building
        self._started = time.time()
        self._running: RunningParts | None = None

    @property
    def causes(self) -> Sequence[str]:
        return () if self._running is None else self._running.causes

    def show(self, running: RunningParts) -> None:
        """The gateway runs: answer from it."""
        self._running = running

    def ready(self) -> str | None:
        if self._running is None:
            return self.building.now or "the gateway is starting"
        if self._running.queue.done:
            return "the gateway is stopping"
        if self.building.now is not None:
            return self.building.now
        parts = [self._running.detector, *(worker.health for worker in self._running.workers)]
        return next((part.problem for part in parts if part.problem), None)

    def cameras(self) -> Sequence[CameraView]:
        running = self._running
        if running is None:
            return []
        return [running.camera_view(name, camera) for name, camera in running.cameras.items()]

    def frame(self, camera: str) -> bytes | None:
        known = None if self._running is None else self._running.cameras.get(camera)
        latest = None if known is None else known.latest
        return None if latest is None else to_jpeg(latest.image, 80)

    def tracks(self) -> Sequence[TrackView]:
        return [] if self._running is None else self._running.events.tracks()

    def snapshot(self, track: str) -> bytes | None:
        return None if self._running is None else self._running.events.snapshot(track)

    def totals(self) -> Totals:
        if self._running is None:
            return Totals(started=self._started)
        return self._running.totals(self._started)

    def push(
        self, image: Bytes, landmarks: Sequence[Point] | None, deadline_s: float | None
    ) -> list[Record]:
        if self._running is None:
            raise Overloaded(str(self.ready()))
        return self._running.pushed.push(image, landmarks, deadline_s)

    def push_crops(self, crops: Bytes) -> list[Record]:
        if self._running is None:
            raise Overloaded(str(self.ready()))
        return self._running.pushed.push_crops(crops)
