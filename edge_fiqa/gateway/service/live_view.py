"""The View of a running gateway: snapshots for HTTP, metrics and page, and the pushing of faces."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field

from edge_fiqa.calibration.monitor import Monitor
from edge_fiqa.calibration.reference import Reference
from edge_fiqa.errors import ConfigError, ImageRefused, Overloaded
from edge_fiqa.faces.align import align
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.events.person import by_depth, to_jpeg
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.worker import Worker
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.tracks.face_finder import FindFaces
from edge_fiqa.gateway.video.camera import Camera
from edge_fiqa.gateway.view import CameraView, Totals, TrackView
from edge_fiqa.record import Record
from edge_fiqa.types import IMAGE, Bytes, Point

GRACE_S = 1.0  # beyond its deadline, for a pushed face that is being scored
PUSHED = "push"


class Monitors:
    """What each camera's faces look like against the calibration's. Thread-safe."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        self._of: dict[str, Monitor] = {}
        self._lock = threading.Lock()

    def see(self, camera: str, crop: Bytes, record: Record) -> None:
        if self._reference is None:
            return
        with self._lock:
            monitor = self._of.setdefault(camera, Monitor(self._reference))
            monitor.see(crop, record.quality.scalar)

    def warnings(self, camera: str) -> list[str]:
        with self._lock:
            monitor = self._of.get(camera)
            return [] if monitor is None else [f.message for f in monitor.findings()]


@dataclass
class GatewayView:
    """Implements View. cameras: those that are watched now, which a reload replaces.

    finder: for pushed pictures, or None; deadline_s: of a push that names none.
    """

    model: str
    backend: str
    exits: int
    story: EventBuilder
    desk: FaceQueue
    workers: Sequence[Worker]
    monitors: Monitors
    finder: FindFaces | None
    deadline_s: float
    min_eye_px: float
    building: BuildWatch
    cameras_now: Mapping[str, Camera] = field(default_factory=dict)
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self._finding = threading.Lock()

    def ready(self) -> str | None:
        if self.desk.done:
            return "the gateway is stopping"
        if self.building.now is not None:
            return self.building.now
        return next((worker.problem for worker in self.workers if worker.problem), None)

    def cameras(self) -> Sequence[CameraView]:
        return [self._camera(name, camera) for name, camera in self.cameras_now.items()]

    def _camera(self, name: str, camera: Camera) -> CameraView:
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
            faces=self.story.faces(name),
            warnings=warnings,
        )

    def frame(self, camera: str) -> bytes | None:
        found = self.cameras_now.get(camera)
        latest = None if found is None else found.latest
        return None if latest is None else to_jpeg(latest.image, 80)

    def tracks(self) -> Sequence[TrackView]:
        return self.story.tracks()

    def snapshot(self, track: str) -> bytes | None:
        return self.story.snapshot(track)

    def totals(self) -> Totals:
        counts, latency_s = self.story.totals()
        return Totals(
            started=self.started,
            faces_found=counts.found,
            faces_scored=counts.scored,
            skipped=dict(counts.skipped),
            depths=by_depth(counts.depths, self.exits),
            misses=counts.misses,
            events=dict(counts.events),
            load=self.desk.load,
            latency_s=latency_s,
            energy_j=None if counts.energy_mj is None else counts.energy_mj / 1000,
        )

    def push(
        self, image: Bytes, landmarks: Sequence[Point] | None, deadline_s: float | None
    ) -> list[Record]:
        now, clock = time.time(), time.monotonic()
        limit_s = self.deadline_s if deadline_s is None else deadline_s
        jobs = [
            QueuedFace(face, clock, clock + limit_s, now, answer=Future())
            for face in self._faces(image, landmarks)
        ]
        for job in jobs:
            self.story.pushed()
            self.desk.put(job)
        return [self._answer(job) for job in jobs]

    @staticmethod
    def _answer(job: QueuedFace) -> Record:
        assert job.answer is not None
        try:
            return job.answer.result(max(0.0, job.deadline - time.monotonic()) + GRACE_S)
        except NotInTime:
            raise Overloaded("the answer would come after its deadline") from None

    def _faces(
        self, image: Bytes, landmarks: Sequence[Point] | None
    ) -> Sequence[FaceCrop | RefusedFace]:
        if landmarks is not None:
            points = tuple(landmarks)
            try:
                crop = align(image, points, self.min_eye_px)
            except ImageRefused as refusal:
                reason = str(refusal)
                return [RefusedFace(f"{PUSHED}#0", PUSHED, refusal.code, reason, landmarks=points)]
            return [FaceCrop(f"{PUSHED}#0", PUSHED, crop, landmarks=points)]
        if image.shape == (IMAGE, IMAGE, 3):
            return [FaceCrop(f"{PUSHED}#0", PUSHED, image)]
        if self.finder is None:
            raise ConfigError(
                "this gateway has no detector: push an aligned 112x112 crop, or give landmarks"
            )
        with self._finding:
            found = self.finder.find(image)
        if not found:
            return [RefusedFace(f"{PUSHED}#0", PUSHED, "no_face", "no face was found")]
        return [
            FaceCrop(f"{PUSHED}#{n}", PUSHED, face.crop, face.box, face.landmarks)
            if face.crop is not None
            else RefusedFace(
                f"{PUSHED}#{n}",
                PUSHED,
                "too_small" if face.skip == "too_small" else "no_face",
                f"not scored: {face.skip}",
                face.box,
                face.landmarks,
            )
            for n, face in enumerate(found)
        ]
