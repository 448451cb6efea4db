"""A thread that detects and follows faces in the frames of all cameras, the oldest frame first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.health import Health
from edge_fiqa.gateway.tracks.face_finder import FindFaces, SeenFace, picture_of
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.gateway.video.camera import Camera, Frame

CAMERA_CHECK_S = 0.1  # time between two checks for cameras that show nothing

EndReason = Literal["left", "camera_lost", "shutdown"]


@dataclass(frozen=True)
class WatchedCamera:
    """A camera, the tracker of the people it sees, and the time within which a face is answered."""

    camera: Camera
    tracker: Tracker
    deadline_s: float


@dataclass(frozen=True)
class FrameFaces:
    """A frame and its faces. tracks: ids, None for a face that is not followed yet."""

    frame: Frame
    faces: Sequence[SeenFace]
    tracks: Sequence[str | None]


class DetectorLoop:
    """Takes the latest frames of cameras and puts their faces into the queue.

    finder: may be exchanged at any time. With None, frames are thrown away.
    on_frame: called for every frame, before its faces are put into the queue.
    on_track_end: called for every track that ended.
    track_id: camera and number -> the id of the track.
    health: of the detector.
    heartbeat: monotonic time of the last sign of life.
    """

    def __init__(
        self,
        finder: FindFaces | None,
        queue: FaceQueue,
        on_frame: Callable[[FrameFaces], None],
        on_track_end: Callable[[str, EndReason], None],
        track_id: Callable[[str, int], str],
    ) -> None:
        self.finder, self.queue = finder, queue
        self._on_frame, self._on_track_end, self._track_id = on_frame, on_track_end, track_id
        self._watched: dict[str, WatchedCamera] = {}
        self._lock, self._new_frame = threading.Lock(), threading.Event()
        self._stop = threading.Event()
        self.heartbeat = time.monotonic()
        self.health = Health("the detector")
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that a camera has a new frame."""
        self._new_frame.set()

    def watch(self, watched: Mapping[str, WatchedCamera]) -> None:
        """Watch these cameras from now on. End the tracks of each camera that is not among them."""
        with self._lock:
            previous, self._watched = self._watched, dict(watched)
            if not watched:
                self.health.works()  # nothing is asked of it
            for name, old in previous.items():
                if name not in watched or watched[name].tracker is not old.tracker:
                    self._end(name, old.tracker.end_all(), "camera_lost")

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread, and with it every track."""
        self._stop.set()
        self._new_frame.set()
        self._thread.join(timeout_s)
        with self._lock:
            for name, watched in self._watched.items():
                self._end(name, watched.tracker.end_all(), "shutdown")

    def _run(self) -> None:
        checked = 0.0
        while not self._stop.is_set():
            self.heartbeat = now = time.monotonic()
            self._new_frame.clear()
            with self._lock:
                if now - checked > CAMERA_CHECK_S:
                    self._check_cameras(now)
                    checked = now
                name = self._oldest()
                if name is not None:
                    self._detect(self._watched[name])
            if name is None:
                self._new_frame.wait(CAMERA_CHECK_S)

    def _oldest(self) -> str | None:
        """Return the camera whose frame waits longest, None if no frame waits."""
        waiting = {
            name: since
            for name, watched in self._watched.items()
            if (since := watched.camera.waiting_since) is not None
        }
        return min(waiting, key=lambda name: waiting[name]) if waiting else None

    def _detect(self, watched: WatchedCamera) -> None:
        frame, finder = watched.camera.take(), self.finder
        if frame is None or finder is None:
            return
        try:
            faces = finder.find(frame.image)
        except EdgeFiqaError as exc:
            self.health.failed(exc)
            return
        self.health.works()
        boxes, scores = [face.box for face in faces], [face.score for face in faces]
        numbers, ended = watched.tracker.update(boxes, scores, frame.arrived)
        tracks = [None if n is None else self._track_id(frame.camera, n) for n in numbers]
        frame_faces = FrameFaces(frame, faces, tracks)
        self._on_frame(frame_faces)
        for queued in _queued_faces(frame_faces, watched.deadline_s):
            self.queue.put(queued)
        self._end(frame.camera, ended, "left")

    def _check_cameras(self, now: float) -> None:
        """End the tracks of cameras that show nothing.

        Where frames come, the next frame shows who has left.
        """
        for name, watched in self._watched.items():
            status, tracker = watched.camera.status, watched.tracker
            if watched.camera.waiting_since is not None:
                continue
            if status.state == "ended":
                self._end(name, tracker.end_all(), "left")
            elif status.state != "live":
                self._end(name, tracker.end_all(), "camera_lost")
            elif status.frame_age_s is not None and status.frame_age_s > tracker.lost_s:
                self._end(name, tracker.end_lost(now), "camera_lost")

    def _end(self, camera: str, numbers: Sequence[int], reason: EndReason) -> None:
        for number in numbers:
            self._on_track_end(self._track_id(camera, number), reason)


def _queued_faces(frame_faces: FrameFaces, deadline_s: float) -> list[QueuedFace]:
    """Return the faces that are worth scoring: those that are followed and have a crop."""
    frame, pairs = frame_faces.frame, zip(frame_faces.faces, frame_faces.tracks, strict=True)
    return [
        QueuedFace(
            FaceCrop(
                f"{frame.camera}/{frame.number}#{index}",
                frame.camera,
                face.crop,
                face.box,
                face.landmarks,
                face.warnings,
                person=track,
            ),
            frame.arrived,
            frame.arrived + deadline_s,
            frame.time,
            frame.camera,
            track,
            picture_of(frame.image, face.box),
        )
        for index, (face, track) in enumerate(pairs)
        if face.crop is not None and track is not None
    ]
