"""The gateway as a whole: built from its configuration, started, changed while it runs, stopped.

    cameras ──frames──► looker ──faces──► desk ──the most urgent──► workers
                          │                                            │
                          └────who is there────► story ◄────records────┘
                                                   └──events──► sinks

Behind every arrow is a queue or a latest value, so one slow part holds up no other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import cv2

from edge_fiqa.calibration.audit import Audit
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.gateway.config.gateway import CameraConfig, GatewayConfig
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.queue.detector_loop import DetectorLoop, WatchedCamera
from edge_fiqa.gateway.queue.face_queue import FaceQueue
from edge_fiqa.gateway.queue.schedule import Rules, Strategy, decide
from edge_fiqa.gateway.queue.worker import (
    BATCH,
    GrantedDepth,
    Worker,
    granted_exits,
    measure_speed,
    warm,
)
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.service.live_view import GatewayView, Monitors
from edge_fiqa.gateway.tracks.face_finder import FaceFinder, FindFaces
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.gateway.video.camera import Camera, Opener
from edge_fiqa.gateway.video.capture import open_capture
from edge_fiqa.policies.policy import Convergence, Policy
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.pipeline import Scores
from edge_fiqa.scoring.scorer import Scorer

log = logging.getLogger("edge_fiqa.gateway")

SILENT_S = 30.0  # a thread without a sign of life for longer hangs
AT_START = ("model", "backend", "workers", "threads", "mqtt", "http", "file", "store")
"""Keys of the configuration that a reload does not change."""


class Gateway:
    """scorers, opener, find: instead of what the configuration names, for tests. building: hears of
    builds, which are no hanging. Once made, everything that may run has run.

    Raises what opening the model and the detector raises. view: what the outside may see and ask.
    """

    def __init__(
        self,
        config: GatewayConfig,
        sinks: Sequence[Sink] = (),
        scorers: Sequence[Scorer] | None = None,
        opener: Opener = open_capture,
        find: Callable[[GatewayConfig], FindFaces | None] | None = None,
        building: BuildWatch | None = None,
    ) -> None:
        self.building = building or BuildWatch()
        self._find = find or find_faces
        if config.detector is not None:
            cv2.setNumThreads(config.detector.threads)
        self.config, self._opener = config, opener
        self._run = int(1000 * time.time())  # in the names of its tracks
        self._scorers = open_scorers(config) if scorers is None else scorers
        self._audit: Audit | None = None
        self._auditing = threading.Lock()
        first = self._scorers[0]
        monitors = Monitors(None if first.monitor is None else first.monitor.reference)
        self.story = EventBuilder(config.best_shot, sinks, monitors.see)
        self._exits = granted_exits(first, config.schedule.least_exit)
        scoring = [self._scoring(config, scorer, [1]) for scorer in self._scorers]
        speed = [measure_speed(one, len(scoring), self._exits) for one in self._scorers][-1]
        if speed.batches:
            for scorer, (scores, policies) in zip(self._scorers, scoring, strict=True):
                warm(scorer, self._ways(scores, policies), range(2, BATCH + 1))
        self.desk = FaceQueue(speed, _strategy(config), self.story.good, self.story.lost)
        self._workers = [
            Worker(self.desk, scores, policies, self.story.answered, self.story.lost)
            for scores, policies in scoring
        ]
        self._looker = DetectorLoop(
            self._find(config), self.desk, self.story.looked, self.story.left, self._track_id
        )
        self._watched: dict[str, WatchedCamera] = {}
        self.view = GatewayView(
            model=first.bundle.manifest.name,
            backend=first.engine.backend,
            exits=first.bundle.config.depth,
            story=self.story,
            desk=self.desk,
            workers=self._workers,
            monitors=monitors,
            finder=self._find(config),
            deadline_s=config.schedule.deadline_s,
            min_eye_px=config.faces.min_eye_px,
            building=self.building,
        )

    def start(self) -> None:
        """Returns at once; cameras connect in their own time."""
        self.story.start()
        for worker in self._workers:
            worker.start()
        self._looker.start()
        self._watch(self.config)

    def reload(self, config: GatewayConfig) -> list[str]:
        """Go on with another configuration, and with all tracks of cameras that stay.

        Returns the keys whose change takes a restart. Raises ConfigError, and then nothing changed.
        """
        old = self.config
        if (config.detector, config.faces) != (old.detector, old.faces):
            self._looker.finder, self.view.finder = self._find(config), self._find(config)
        if config.best_shot.gate != old.best_shot.gate or config.schedule != old.schedule:
            self._regrade(config)
        self.story.best_shot = config.best_shot
        self.desk.strategy = _strategy(config)
        self.view.deadline_s = config.schedule.deadline_s
        self.view.min_eye_px = config.faces.min_eye_px
        self._watch(config)
        kept = {key: getattr(old, key) for key in AT_START}
        self.config = config.model_copy(update=kept)
        return [key for key in AT_START if getattr(config, key) != kept[key]]

    def silent(self) -> str | None:
        """Which thread hangs or died, or None."""
        now = time.monotonic()
        beats = {"looker": self._looker.beat, "story": self.story.beat}
        if not self.building.patient():  # a worker may be building, for another gate or policy
            built = self.building.heard_at  # what was built is then warmed
            beats |= {f"worker {n}": max(one.beat, built) for n, one in enumerate(self._workers)}
        return next((name for name, beat in beats.items() if now - beat > SILENT_S), None)

    def stop(self, timeout_s: float = 8.0) -> None:
        """Answer what waits, tell the end of every track, and free the engines."""
        until = time.monotonic() + timeout_s
        self._stop_cameras([one.camera for one in self._watched.values()])
        self._looker.stop(timeout_s / 4)
        self.desk.close()
        for worker in self._workers:
            worker.join(max(0.1, until - time.monotonic() - timeout_s / 4))
        self.desk.clear()
        self.story.finish(max(0.5, until - time.monotonic()))
        for scorer in self._scorers:
            scorer.close()

    def _watch(self, config: GatewayConfig) -> None:
        """Start, keep, exchange and stop cameras."""
        lost_s, now = config.best_shot.lost_s, self._watched
        watched: dict[str, WatchedCamera] = {}
        fresh: list[Camera] = []
        for name, camera_config in config.cameras.items():
            one = now.get(name)
            if one is None or one.camera.config != camera_config:
                camera = Camera(name, camera_config, self._looker.wake, self._opener)
                fresh.append(camera)
            else:
                camera = one.camera
            tracks = _tracks(camera_config, lost_s, None if one is None else one.tracks)
            watched[name] = WatchedCamera(camera, tracks, config.deadline_of(camera_config))
        staying = {id(one.camera) for one in watched.values()}
        gone = [one.camera for one in now.values() if id(one.camera) not in staying]
        self._looker.watch(watched)
        self._watched = watched
        self.view.cameras_now = {name: one.camera for name, one in watched.items()}
        self._stop_cameras(gone)
        for camera in fresh:
            camera.start()
            log.info("camera %s: connecting", camera.name)

    @staticmethod
    def _stop_cameras(cameras: Sequence[Camera]) -> None:
        """All at once, so that one that hangs costs its own two seconds only."""
        stopping = [threading.Thread(target=camera.stop) for camera in cameras]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def _regrade(self, config: GatewayConfig) -> None:
        """Another gate or policy, taken up by each worker between two faces.

        A worker that cannot (no such promise, a build that failed) says so and goes on as it was.
        """
        self._audit = None
        for worker, scorer in zip(self._workers, self._scorers, strict=True):

            def renew(worker: Worker = worker, scorer: Scorer = scorer) -> None:
                before = scorer.gate
                batches = range(1, BATCH + 1 if self.desk.speed.batches else 2)
                try:
                    scorer.set_gate(config.best_shot.gate)
                    worker.scores, worker.policies = self._scoring(config, scorer, batches)
                except EdgeFiqaError as exc:
                    log.error("a worker keeps its gate and policy: %s", exc)
                    scorer.set_gate(before)
                    scorer.monitor = None

            worker.renew = renew

    def _scoring(
        self, config: GatewayConfig, scorer: Scorer, faces: Iterable[int]
    ) -> tuple[Scores, Sequence[Policy]]:
        """What scores, and which policies may stop before the granted depth; warm."""
        scorer.monitor = None  # each camera has its own
        scores: Scores = scorer
        policies = [Convergence()] if config.schedule.policy == "convergence" else []
        if config.schedule.policy == "gate":
            with self._auditing:  # one for all workers, which may come here at once
                scores = service = GateService(scorer, audit=self._audit)
                self._audit = service.audit
        warm(scorer, self._ways(scores, policies), faces)
        return scores, policies

    def _ways(self, scores: Scores, policies: Sequence[Policy]) -> list[Sequence[Policy]]:
        """What a worker may be asked: each depth that may be granted, and what may stop before it."""
        ways: list[Sequence[Policy]] = [[GrantedDepth(exit), *policies] for exit in self._exits]
        if isinstance(scores, GateService):
            ways += [[GrantedDepth(exit), scores.gate] for exit in self._exits]
        return ways

    def _track_id(self, camera: str, number: int) -> str:
        return f"{camera}/{self._run}/{number}"


def open_scorers(config: GatewayConfig) -> list[Scorer]:
    """One for each worker. Raises BundleError, BackendMissing, EngineFailed or ConfigError."""
    return [
        Scorer.open(
            config.model,
            backend=config.backend,
            threads=config.threads,
            gate=config.best_shot.gate,
        )
        for _ in range(config.workers)
    ]


def _strategy(config: GatewayConfig) -> Strategy:
    return partial(
        decide,
        rules=Rules(
            config.schedule.least_exit, config.schedule.utilisation, config.schedule.margin_s
        ),
    )


def find_faces(config: GatewayConfig) -> FindFaces | None:
    """YuNet as configured, or None. Raises ConfigError if it cannot be loaded."""
    return None if config.detector is None else FaceFinder(config.detector, config.faces)


def _tracks(camera: CameraConfig, lost_s: float, old: Tracker | None) -> Tracker:
    lost_s = max(lost_s, 2 / camera.fps)  # one frame without somebody is not enough
    if old is None or old.track != camera.tracks:
        return Tracker(lost_s, camera.tracks)
    old.lost_s = lost_s
    return old
