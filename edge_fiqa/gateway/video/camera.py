"""One camera: a thread that keeps the latest frame, and opens its source again after every failure.

Every frame is grabbed, but only those that are due are decoded, so that a stream never lags behind.
A source that hangs makes its own camera stale; nothing else waits for it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.video.capture import Capture, open_capture
from edge_fiqa.gateway.video.masks import Masks
from edge_fiqa.gateway.video.source_lost import SourceLost
from edge_fiqa.gateway.view import StreamState
from edge_fiqa.types import Bytes

log = logging.getLogger("edge_fiqa.gateway")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STEADY_S = 10.0  # after a source that worked for this long, the next wait is the shortest
RATE_S = 5.0  # over which frames are counted for their rate
CORRUPT = 25  # frames in a row that cannot be decoded, before the source is opened anew


@dataclass(frozen=True)
class Frame:
    """image: (H, W, 3) uint8 RGB. arrived: monotonic seconds; time: Unix seconds."""

    camera: str
    number: int
    image: Bytes
    arrived: float
    time: float


@dataclass(frozen=True)
class CameraStatus:
    """The state of a camera.

    frame_age_s: None before the first frame. frames_per_s: of the last seconds.
    reconnects: times that frames came again after the source had failed.
    """

    state: StreamState
    frame_age_s: float | None
    frames: int
    frames_per_s: float
    dropped_frames: int
    reconnects: int
    size: tuple[int, int] | None
    problem: str | None


Opener = Callable[[CameraConfig], Capture]


class Camera:
    """A source in a thread of its own. Safe to use from several threads.

    on_frame: called from the camera's thread whenever `take` has a new frame.
    opener: opens the source.
    clock: monotonic.
    """

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        on_frame: Callable[[], None] = lambda: None,
        opener: Opener = open_capture,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.use(config)
        self._on_frame, self._opener, self._clock = on_frame, opener, clock
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._state: StreamState = "connecting"
        self._problem: str | None = None
        self._frame: Frame | None = None
        self._untaken = False
        self._frames = self._dropped = self._reconnects = 0
        self._arrivals: deque[float] = deque()  # of frames in the last RATE_S, the first left out
        self._live_since = 0.0
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    def use(self, config: CameraConfig) -> None:
        """From the next frame on, another configuration of the same source."""
        self.config, self._masks = config, Masks(config.mask_polygons)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ask the thread to end; one that hangs inside its source is not waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def waiting_since(self) -> float | None:
        """Arrival of the frame that nobody took yet (monotonic seconds)."""
        with self._lock:
            return self._frame.arrived if self._untaken and self._frame is not None else None

    def take(self) -> Frame | None:
        """The latest frame, once."""
        with self._lock:
            if not self._untaken:
                return None
            self._untaken = False
            return self._frame

    @property
    def latest(self) -> Frame | None:
        """The latest frame, as often as wanted."""
        with self._lock:
            return self._frame

    @property
    def status(self) -> CameraStatus:
        with self._lock:
            age = None if self._frame is None else self._clock() - self._frame.arrived
            state = self._state
            if state == "live" and age is not None and age > self.config.stale_s:
                state = "stale"
            live = state == "live"
            return CameraStatus(
                state,
                age,
                self._frames,
                self._rate() if live else 0.0,
                self._dropped,
                self._reconnects,
                None if self._frame is None else self._frame.image.shape[1::-1],
                self._problem,
            )

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            started = self._clock()
            try:
                before = self._frames
                self._play()
                if not self.config.loop or self._stop.is_set():
                    self._set_state("ended", None)
                    return
                if self._frames == before:
                    raise SourceLost("there is not a single frame in it")
                continue
            except EdgeFiqaError as exc:
                self._set_state("failed", str(exc))
            except Exception:  # a bug or no memory: a camera that stays away says nothing of itself
                log.exception("camera %s: this is a bug; it is connected again", self.name)
                self._set_state("failed", "a bug; see the log")
            if self._clock() - started > STEADY_S:
                wait_s = FIRST_WAIT_S
            self._stop.wait(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _play(self) -> None:
        capture = self._opener(self.config)
        try:
            self._read(capture)
        finally:
            capture.close()

    def _read(self, capture: Capture) -> None:
        """Until the source ends (returns) or fails (SourceLost)."""
        period, due, corrupt = 1 / self.config.fps, -float("inf"), 0
        while not self._stop.is_set():
            if not capture.grab():
                return
            now = self._clock()
            if now < due - 0.1 * period:
                continue
            image = capture.retrieve()
            if image is None:
                corrupt += 1
                if corrupt >= CORRUPT:
                    raise SourceLost(f"{corrupt} frames in a row could not be decoded")
                continue
            corrupt = 0
            if self.config.rotate:
                image = np.ascontiguousarray(np.rot90(image, -self.config.rotate // 90))
            image = self._masks.blacken(image)
            due = max(due + period, now) if due > 0 else now + period
            self._keep(image, self._clock())

    def _keep(self, image: Bytes, now: float) -> None:
        with self._lock:
            if self._state == "live":
                self._arrivals.append(now)
            else:
                self._reconnects += self._state == "failed" and self._frame is not None
                self._state, self._problem, self._live_since = "live", None, now
            while self._arrivals and now - self._arrivals[0] > RATE_S:
                self._arrivals.popleft()
            self._frames += 1
            self._dropped += self._untaken
            self._frame = Frame(self.name, self._frames, image, now, time.time())
            self._untaken = True
        self._on_frame()

    def _set_state(self, state: StreamState, problem: str | None) -> None:
        with self._lock:
            self._state, self._problem = state, problem
            self._arrivals.clear()

    def _rate(self) -> float:
        """Frames a second over the last RATE_S, or since the first frame where that is less."""
        now = self._clock()
        recent = sum(now - arrived <= RATE_S for arrived in self._arrivals)
        return recent / max(min(RATE_S, now - self._live_since), 1 / self.config.fps)
