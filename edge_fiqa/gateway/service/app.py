"""The gateway as a whole: built from its configuration, started, changed while it runs, stopped.

    cameras ──frames──► detector loop ──faces──► face queue ──the most urgent──► workers
                              │                                                     │
                              └────who is there────► event builder ◄────records─────┘
                                                           └──events──► sinks

Behind every arrow is a queue or a latest value, so one slow part holds up no other.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2

from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.config.gateway import BestShotConfig, GatewayConfig
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.events.open_tracks import OpenTracks
from edge_fiqa.gateway.queue.detector_loop import DetectorLoop, WatchedCamera
from edge_fiqa.gateway.queue.face_queue import FaceQueue
from edge_fiqa.gateway.queue.schedule import Rules, Strategy, grant_depth
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.service.camera_monitors import CameraMonitors
from edge_fiqa.gateway.service.live_view import LiveView, RunningParts
from edge_fiqa.gateway.service.pushed_faces import PushedFaces
from edge_fiqa.gateway.service.worker_scoring import WorkerScoring, open_scorers
from edge_fiqa.gateway.tracks.camera_faces import CameraFaces
from edge_fiqa.gateway.tracks.face_finder import FaceFinder, FindFaces
from edge_fiqa.gateway.tracks.followed_people import FollowedPeople, Limits
from edge_fiqa.gateway.tracks.zones import Zones
from edge_fiqa.gateway.video.camera import Camera, Opener
from edge_fiqa.gateway.video.capture import open_capture
from edge_fiqa.scoring.scorer import Scorer

log = logging.getLogger("edge_fiqa.gateway")

SILENT_S = 30.0  # a thread without a sign of life for longer hangs
AT_START = (
    "model", "backend", "workers", "threads", "detectors", "mqtt", "http", "file", "store",
)  # fmt: skip
"""Keys of the configuration that a reload does not change."""


class Gateway:
    """All parts of a gateway. Once made, everything that may run has run.

    scorers, opener, find: instead of what the configuration names, for tests.
    view: what the outside may see and ask, before the gateway is made as well; None: a new one.
    open_tracks: as of the EventBuilder.
    Raises what opening the model and the detector raises.
    """

    def __init__(
        self,
        config: GatewayConfig,
        sinks: Sequence[Sink] = (),
        scorers: Sequence[Scorer] | None = None,
        opener: Opener = open_capture,
        find: Callable[[GatewayConfig], FindFaces | None] | None = None,
        view: LiveView | None = None,
        open_tracks: OpenTracks | None = None,
    ) -> None:
        self.config, self._opener, self._find = config, opener, find or find_faces
        _set_opencv_threads(config)
        self._run_id = int(1000 * time.time())  # in the ids of its tracks
        scorers = open_scorers(config) if scorers is None else scorers
        first = scorers[0]
        self.view = view or LiveView(first.bundle.manifest.name, first.engine.backend, BuildWatch())
        monitors = CameraMonitors(None if first.monitor is None else first.monitor.reference)
        self.events = events = EventBuilder(config.best_shot, sinks, monitors.see, open_tracks)
        self.scoring = WorkerScoring(config, scorers)
        self.queue = queue = FaceQueue(
            self.scoring.speed,
            _strategy(config),
            events.good_tracks,
            events.face_lost,
            good_interval_s=config.best_shot.good_interval_s,
        )
        self.workers = self.scoring.workers(queue, events)
        self._detector_loop = DetectorLoop(
            self._find(config),
            queue,
            events.frame_seen,
            events.person_left,
            self._track_id,
            config.detectors,
        )
        limits = config.faces.min_eye_px, config.schedule.deadline_s
        self._pushed = PushedFaces(
            queue,
            events,
            lambda face: first.scale.recorder.refused(face),  # with the gate of that moment
            self._find(config),
            *limits,
        )
        self._watched: dict[str, WatchedCamera] = {}
        self._numbers: dict[str, Iterator[int]] = {}  # of tracks, by camera: none comes twice
        depth, detector = first.bundle.config.depth, self._detector_loop.health
        has_limits = first.calibration is not None and first.calibration.causes is not None
        causes = first.bundle.manifest.causes if has_limits else ()
        self._parts = RunningParts(
            depth, detector, queue, self.workers, events, monitors, self._pushed, causes
        )

    def start(self) -> None:
        """Returns at once; cameras connect in their own time."""
        self.events.start()
        for worker in self.workers:
            worker.start()
        self._detector_loop.start()
        self._watch(self.config)
        self.view.show(self._parts)

    def reload(self, config: GatewayConfig) -> list[str]:
        """Go on with another configuration, and with all tracks of cameras that stay.

        Returns the keys whose change takes a restart. Raises ConfigError, and then nothing changed.
        """
        old = self.config
        if (config.detector, config.faces) != (old.detector, old.faces):
            finders = self._find(config), self._find(config)  # may raise: nothing changed yet
            _set_opencv_threads(config)
            self._detector_loop.finder, self._pushed.finder = finders
        if config.best_shot.gate != old.best_shot.gate or config.schedule != old.schedule:
            self.scoring.renew(config, self.workers)
        self.events.best_shot = config.best_shot
        self.queue.strategy = _strategy(config)
        self.queue.good_interval_s = config.best_shot.good_interval_s
        self._pushed.deadline_s = config.schedule.deadline_s
        self._pushed.min_eye_px = config.faces.min_eye_px
        self._watch(config)
        kept = {key: getattr(old, key) for key in AT_START}
        self.config = config.model_copy(update=kept)
        return [key for key in AT_START if getattr(config, key) != kept[key]]

    def silent_thread(self) -> str | None:
        """Which thread hangs or died, or None."""
        now, building = time.monotonic(), self.view.building
        heartbeats = {
            "detector loop": self._detector_loop.heartbeat,
            "event builder": self.events.heartbeat,
        }
        if not building.patient():  # a worker may be building, for another gate or policy
            for number, worker in enumerate(self.workers):  # what was built is then warmed
                heartbeats[f"worker {number}"] = max(worker.heartbeat, building.heard_at)
        silent = (name for name, heartbeat in heartbeats.items() if now - heartbeat > SILENT_S)
        return next(silent, None)

    def stop(self, timeout_s: float = 8.0) -> None:
        """Score what waits, end every track, and free the engines."""
        until = time.monotonic() + timeout_s
        _stop_cameras([watched.camera for watched in self._watched.values()])
        self._detector_loop.stop(timeout_s / 4)
        self.queue.close()
        for worker in self.workers:
            worker.join(max(0.1, until - time.monotonic() - timeout_s / 4))
        self.queue.clear()
        self.events.finish(max(0.5, until - time.monotonic()))
        self.scoring.close()

    def _watch(self, config: GatewayConfig) -> None:
        """Start, keep, exchange and stop cameras."""
        before = self._watched
        self._watched = {
            name: self._watched_camera(config, name, before.get(name))
            for name in config.enabled_cameras
        }
        self._detector_loop.watch(self._watched)
        cameras = {name: watched.camera for name, watched in self._watched.items()}
        self._parts.cameras = cameras
        known = {name: watched.camera for name, watched in before.items()}
        _stop_cameras([known[name] for name in known if cameras.get(name) is not known[name]])
        for name, camera in cameras.items():
            if camera is not known.get(name):
                camera.start()
                log.info("camera %s: connecting", name)

    def _watched_camera(
        self, config: GatewayConfig, name: str, old: WatchedCamera | None
    ) -> WatchedCamera:
        """The old camera if its source did not change, else a new one, not started."""
        camera_config = config.cameras[name]
        if old is not None and old.camera.config.same_source(camera_config):
            camera = old.camera
            camera.use(camera_config)
        else:
            camera = Camera(name, camera_config, self._detector_loop.wake, self._opener)
        numbers = self._numbers.setdefault(name, itertools.count(1))
        known = None if old is None else old.people
        people = _people(camera_config, config.best_shot, known, numbers)
        motion = config.motion_of(camera_config)
        faces = CameraFaces(motion) if old is None or old.faces.config != motion else old.faces
        zones = Zones(camera_config.zones, camera_config.required_zones)
        deadline_s, shows = config.deadline_of(camera_config), camera_config.shows
        masks = camera_config.mask_polygons
        return WatchedCamera(camera, faces, people, zones, deadline_s, masks, shows)

    def _track_id(self, camera: str, number: int) -> str:
        return f"{camera}/{self._run_id}/{number}"


def _stop_cameras(cameras: Sequence[Camera]) -> None:
    """All at once, so that one that hangs costs its own two seconds only."""
    threads = [threading.Thread(target=camera.stop) for camera in cameras]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _strategy(config: GatewayConfig) -> Strategy:
    schedule = config.schedule
    rules = Rules(schedule.least_exit, schedule.utilisation, schedule.margin_s)
    return partial(grant_depth, rules=rules)


def _set_opencv_threads(config: GatewayConfig) -> None:
    """One setting for the whole process: of frames that are reduced, and of a detector on OpenCV."""
    if config.detector is not None:
        cv2.setNumThreads(config.detector.threads)


def find_faces(config: GatewayConfig) -> FindFaces | None:
    """YuNet as configured, or None. Raises ConfigError if it cannot be loaded."""
    return None if config.detector is None else FaceFinder(config.detector, config.faces)


def _people(
    camera: CameraConfig,
    config: BestShotConfig,
    old: FollowedPeople | None,
    numbers: Iterator[int],
) -> FollowedPeople:
    """Those of before, with new limits, if people are followed as before. numbers: of new tracks."""
    lost_s = max(config.lost_s, 2 / camera.fps)  # one frame without a person is not enough
    limits = Limits(lost_s, config.stationary_s, config.longest_track_s, 1 / camera.fps)
    if old is None or old.track != camera.tracks:
        return FollowedPeople(limits, camera.tracks, numbers)
    old.limits = limits
    return old
