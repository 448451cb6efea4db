"""A thread that looks at frames: faces, tracks, and the desk. The oldest frame of any camera first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.tracks.face_finder import FindFaces, SeenFace, surroundings
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.gateway.video.camera import Camera, Frame

LOOK_S = 0.1  # how often cameras without frames are looked after

Why = Literal["left", "camera_lost", "shutdown"]


@dataclass(frozen=True)
class WatchedCamera:
    """A camera, the people before it, and the seconds within which its faces are answered."""

    camera: Camera
    tracks: Tracker
    deadline_s: float


@dataclass(frozen=True)
class FrameFaces:
    """A frame and its faces. tracks: ids, None for a face that is not followed yet."""

    frame: Frame
    faces: Sequence[SeenFace]
    tracks: Sequence[str | None]
    waiting: int  # that went to the desk


class DetectorLoop:
    """`told` hears of every frame, before its faces go to the desk; `left` of every track that ended.

    track_id: camera and number -> the track's name. finder may be exchanged at any time; None: frames
    are passed over.
    """

    def __init__(
        self,
        finder: FindFaces | None,
        desk: FaceQueue,
        told: Callable[[FrameFaces], None],
        left: Callable[[str, Why], None],
        track_id: Callable[[str, int], str],
    ) -> None:
        self.finder, self.desk = finder, desk
        self._told, self._left, self._track_id = told, left, track_id
        self._watched: dict[str, WatchedCamera] = {}
        self._lock, self._new = threading.Lock(), threading.Event()
        self._stop = threading.Event()
        self.beat = time.monotonic()
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """A camera has a new frame."""
        self._new.set()

    def watch(self, watched: Mapping[str, WatchedCamera]) -> None:
        """From now on these cameras. People before one that is no longer there have ended."""
        with self._lock:
            old, self._watched = self._watched, dict(watched)
            for name, one in old.items():
                if name not in watched or watched[name].tracks is not one.tracks:
                    self._end(name, one.tracks.end_all(), "camera_lost")

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread, and with it every track."""
        self._stop.set()
        self._new.set()
        self._thread.join(timeout_s)
        with self._lock:
            for name, one in self._watched.items():
                self._end(name, one.tracks.end_all(), "shutdown")

    def _run(self) -> None:
        looked_after = 0.0
        while not self._stop.is_set():
            self.beat = now = time.monotonic()
            self._new.clear()
            with self._lock:
                if now - looked_after > LOOK_S:
                    self._look_after(now)
                    looked_after = now
                name = self._oldest()
                if name is not None:
                    self._look(name)
            if name is None:
                self._new.wait(LOOK_S)

    def _oldest(self) -> str | None:
        waiting = {
            name: since
            for name, one in self._watched.items()
            if (since := one.camera.waiting_since) is not None
        }
        return min(waiting, key=lambda name: waiting[name]) if waiting else None

    def _look(self, name: str) -> None:
        one = self._watched[name]
        frame = one.camera.take()
        finder = self.finder
        if frame is None or finder is None:
            return
        try:
            faces = finder.find(frame.image)
        except EdgeFiqaError as exc:
            self.problem = str(exc)
            return
        numbers, ended = one.tracks.update(
            [face.box for face in faces], [face.score for face in faces], frame.arrived
        )
        tracks = [None if n is None else self._track_id(name, n) for n in numbers]
        jobs = [
            _job(frame, face, track, place, one.deadline_s)
            for place, (face, track) in enumerate(zip(faces, tracks, strict=True))
            if face.crop is not None and track is not None
        ]
        self._told(FrameFaces(frame, faces, tracks, len(jobs)))
        for job in jobs:
            self.desk.put(job)
        self._end(name, ended, "left")

    def _look_after(self, now: float) -> None:
        """People before cameras that show nothing. That somebody left, the next frame tells."""
        for name, one in self._watched.items():
            status = one.camera.status
            if one.camera.waiting_since is not None:
                continue
            if status.state == "ended":
                self._end(name, one.tracks.end_all(), "left")
            elif status.state != "live":
                self._end(name, one.tracks.end_all(), "camera_lost")
            elif status.frame_age_s is not None and status.frame_age_s > one.tracks.lost_s:
                self._end(name, one.tracks.end_lost(now), "camera_lost")

    def _end(self, camera: str, numbers: Sequence[int], why: Why) -> None:
        for number in numbers:
            self._left(self._track_id(camera, number), why)


def _job(frame: Frame, face: SeenFace, track: str, place: int, deadline_s: float) -> QueuedFace:
    assert face.crop is not None
    name = f"{frame.camera}/{frame.number}"
    return QueuedFace(
        FaceCrop(
            f"{name}#{place}", frame.camera, face.crop, face.box, face.landmarks, person=track
        ),
        frame.arrived,
        frame.arrived + deadline_s,
        frame.time,
        frame.camera,
        track,
        surroundings(frame.image, face.box),
    )
