"""Threads that detect and follow faces in the frames of all cameras, the oldest frame first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.health import Health
from edge_fiqa.gateway.tracks.camera_faces import CameraFaces
from edge_fiqa.gateway.tracks.face_finder import FindFaces, SeenFace, picture_of
from edge_fiqa.gateway.tracks.followed_people import End, EndReason, FollowedPeople
from edge_fiqa.gateway.tracks.zones import Zones
from edge_fiqa.gateway.video.camera import Camera, Frame
from edge_fiqa.types import Point

log = logging.getLogger("edge_fiqa.gateway")

CAMERA_CHECK_S = 0.1  # time between two checks for cameras that show nothing
PATIENCE_S = 5.0  # for a look that is under way at a camera that is taken away


@dataclass(frozen=True)
class WatchedCamera:
    """A camera, its faces and people, its zones, and the time to answer about a face.

    masks: of the frames that the zones are for; others are passed over.
    shows: a value that says what its picture is of.
    """

    camera: Camera
    faces: CameraFaces
    people: FollowedPeople
    zones: Zones
    deadline_s: float
    masks: Sequence[Sequence[Point]] = ()
    shows: object = None


@dataclass(frozen=True)
class FrameFaces:
    """A frame and its faces.

    tracks: ids, None for a face that is not followed yet.
    required_zones: who was in none of these is not announced; none: everybody is.
    """

    frame: Frame
    faces: Sequence[SeenFace]
    tracks: Sequence[str | None]
    required_zones: frozenset[str] = frozenset()


class DetectorLoop:
    """Takes the latest frames of cameras and puts their faces into the queue.

    finder: may be exchanged at any time. With None, frames are thrown away.
    threads: so many cameras are looked at side by side; one camera by one thread at a time.
    on_frame: called for every frame, before its faces are put into the queue.
    on_track_end: called for every track that ended.
    track_id: camera and number -> the id of the track.
    health: of the detector.
    """

    def __init__(
        self,
        finder: FindFaces | None,
        queue: FaceQueue,
        on_frame: Callable[[FrameFaces], None],
        on_track_end: Callable[[str, EndReason], None],
        track_id: Callable[[str, int], str],
        threads: int = 1,
    ) -> None:
        self.finder, self.queue = finder, queue
        self._on_frame, self._on_track_end, self._track_id = on_frame, on_track_end, track_id
        self._watched: dict[str, WatchedCamera] = {}
        self._busy: set[str] = set()  # cameras whose frame is being looked at
        self._change = threading.Condition()  # of what is watched and busy, and of waiting frames
        self._stop = threading.Event()
        self._checked = 0.0
        self.health = Health("the detector")
        names = ["detector", *(f"detector {number}" for number in range(2, threads + 1))]
        self._heartbeats = dict.fromkeys(names, time.monotonic())
        self._threads = [
            threading.Thread(target=self._run, args=(name,), name=name, daemon=True)
            for name in names
        ]

    @property
    def heartbeat(self) -> float:
        """Monotonic time since which every thread gave a sign of life."""
        return min(self._heartbeats.values())

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Tell a thread that a camera has a new frame."""
        with self._change:
            self._change.notify()

    def watch(self, watched: Mapping[str, WatchedCamera]) -> None:
        """Watch these cameras from now on. End the tracks of each camera that is not among them."""
        with self._change:
            previous, self._watched = self._watched, dict(watched)
            if not watched:
                self.health.works()  # nothing is asked of it
            for name, old in previous.items():
                if name not in watched or watched[name].people is not old.people:
                    self._wait_for(name)
                    self._end_all(name, old, "camera_lost")

    def _wait_for(self, camera: str) -> None:
        """Until nobody looks at a frame of that camera."""
        self._change.wait_for(lambda: camera not in self._busy, PATIENCE_S)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the threads, and with them every track."""
        self._stop.set()
        with self._change:
            self._change.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._change:
            for name, watched in self._watched.items():
                self._end_all(name, watched, "shutdown")

    def _run(self, thread: str) -> None:
        while not self._stop.is_set():
            self._heartbeats[thread] = now = time.monotonic()
            with self._change:
                if now - self._checked > CAMERA_CHECK_S:
                    self._check_cameras(now)
                    self._checked = now
                name = self._oldest()
                if name is None:
                    self._change.wait(CAMERA_CHECK_S)
                    continue
                self._busy.add(name)
                watched = self._watched[name]
            try:
                self._detect(watched)
            except Exception:  # a bug: the other cameras need this thread
                log.exception("camera %s: this is a bug; its next frame is looked at", name)
                self._stop.wait(CAMERA_CHECK_S)  # do not fill the log
            finally:
                with self._change:
                    self._busy.discard(name)
                    self._change.notify_all()

    def _oldest(self) -> str | None:
        """Return the camera whose frame waits longest, None if no frame waits."""
        waiting = {
            name: since
            for name, watched in self._watched.items()
            if name not in self._busy and (since := watched.camera.waiting_since) is not None
        }
        return min(waiting, key=lambda name: waiting[name]) if waiting else None

    def _detect(self, watched: WatchedCamera) -> None:
        frame, finder = watched.camera.take(), self.finder
        if frame is None or finder is None or tuple(frame.masks) != tuple(watched.masks):
            return
        watched.people.picture = watched.shows, frame.image.shape
        try:
            faces = watched.faces.find(finder, frame.image, frame.arrived)
        except EdgeFiqaError as exc:
            self.health.failed(exc)
            return
        self.health.works()
        if faces is None:  # whoever stood there still does: the tracker hears of every frame
            boxes, scores = watched.faces.carried_on()
            looked = [False] * len(boxes)
            followed = watched.people.update(boxes, scores, frame.arrived, looked)
            self._end(frame.camera, followed.ended)
            return
        boxes, scores = [face.box for face in faces], [face.score for face in faces]
        looked = [face.skip != "unchanged" for face in faces]
        followed = watched.people.update(boxes, scores, frame.arrived, looked)
        tracks = [None if n is None else self._track_id(frame.camera, n) for n in followed.numbers]
        faces = [
            replace(face, crop=None, skip="stationary") if still else face
            for face, still in zip(faces, followed.stationary, strict=True)
        ]
        watched.faces.look_again(
            [f for f, t in zip(faces, tracks, strict=True) if t is None and f.skip != "stationary"]
        )
        faces = watched.zones.noted(faces, frame.image)
        frame_faces = FrameFaces(frame, faces, tracks, watched.zones.required)
        self._on_frame(frame_faces)
        for queued in _queued_faces(frame_faces, watched.deadline_s):
            self.queue.put(queued)
        self._end(frame.camera, followed.ended)

    def _check_cameras(self, now: float) -> None:
        """End the tracks of cameras that show nothing.

        Where frames come, the next frame shows who has left.
        """
        for name, watched in self._watched.items():
            status, lost_s = watched.camera.status, watched.people.limits.lost_s
            if name in self._busy or watched.camera.waiting_since is not None:
                continue
            age_s = status.frame_age_s
            if status.state == "ended":
                self._end_all(name, watched, "left")
            elif age_s is not None and status.state != "live":
                self._end_all(name, watched, "camera_lost")
            elif age_s is None or age_s > lost_s:
                # No picture yet: a reload may have exchanged the camera. Its people stay for lost_s.
                self._end(name, [(n, "camera_lost") for n in watched.people.end_lost(now)])

    def _end_all(self, camera: str, watched: WatchedCamera, reason: EndReason) -> None:
        numbers = watched.people.end_all(time.monotonic())
        self._end(camera, [(number, reason) for number in numbers])

    def _end(self, camera: str, ended: Sequence[End]) -> None:
        for number, reason in ended:
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
            detector_score=face.score,
        )
        for index, (face, track) in enumerate(pairs)
        if face.crop is not None and track is not None
    ]
