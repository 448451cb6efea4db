"""What the outside may see of a gateway, and that it may push a picture to it.

The HTTP server, the metrics and the web page know the gateway by this protocol alone.
So they are tested with a plain stand-in.
Everything returned is a snapshot that the caller owns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from edge_fiqa.record import Record
from edge_fiqa.types import Box, Bytes, Point

StreamState = Literal["connecting", "live", "stale", "ended", "failed"]


class FaceView(Struct, frozen=True):
    """A face in the latest frame. box: (x, y, width, height) in pixels; depth: blocks run.

    zones: of the camera, in which its middle is now.
    instruction: what the person can do for a better shot: about size or pose where these kept the face
    from a score, else about the last answer's certain causes; None without either, and once there is a
    good or an accepted shot.
    Where the camera requires zones, only faces of announced people are given.
    """

    track: str
    box: Box
    quality: int | None
    depth: int | None
    zones: Sequence[str] = ()
    instruction: str | None = None


class CameraView(Struct, frozen=True, kw_only=True):
    """A camera now.

    frame_age_s: None before the first frame.
    people: who are followed now and announced, scored or not.
    warnings: swapped colours, drift, a stale stream, in words.
    masks, zones: polygons of points as shares of the picture's width and height.
    """

    name: str
    state: StreamState
    frame_age_s: float | None
    frames: int
    frames_per_s: float
    dropped_frames: int
    reconnects: int
    size: tuple[int, int] | None
    faces: Sequence[FaceView] = ()
    people: int = 0
    warnings: Sequence[str] = ()
    masks: Sequence[Sequence[Point]] = ()
    zones: Mapping[str, Sequence[Point]] = {}


class TrackView(Struct, frozen=True, kw_only=True):
    """A person. record: of the best face so far. open: the person is still there.

    zones: in which the person was, in the order of entering them.
    """

    id: str
    camera: str
    started: float
    seen: float
    open: bool
    accepted: bool | None
    record: Record | None
    zones: Sequence[str] = ()


class Totals(Struct, frozen=True, kw_only=True):
    """Since the start. The counts of faces add up: found = scored + every entry of `skipped`.

    skipped: faces not scored, by reason (`SkipReason` of tracks/face_finder.py).
    depths[k-1]: faces stopped at exit k; empty while the gateway starts.
    misses: faces answered after their deadline.
    detector_failures: frames in which no face could be detected, since the detector failed.
    load: demand at full depth over capacity.
    latency_s: p50 and p99 of frame to event; None without events.
    """

    started: float
    faces_found: int = 0
    faces_scored: int = 0
    skipped: Mapping[str, int] = {}
    depths: Sequence[int] = ()
    misses: int = 0
    detector_failures: int = 0
    events: Mapping[str, int] = {}
    load: float = 0.0
    latency_s: tuple[float, float] | None = None
    energy_j: float | None = None


class View(Protocol):
    """causes: of low quality, which the model reads from faces; none of most models."""

    model: str
    backend: str

    @property
    def causes(self) -> Sequence[str]: ...

    def ready(self) -> str | None:
        """None if faces can be scored now, else one line that says why not."""

    def cameras(self) -> Sequence[CameraView]: ...

    def frame(self, camera: str) -> bytes | None:
        """The latest frame as JPEG, without drawings. None if there is none, or no such camera."""

    def tracks(self) -> Sequence[TrackView]:
        """Open ones and those ended lately, the newest first."""

    def snapshot(self, track: str) -> bytes | None:
        """The best face of a track as JPEG."""

    def totals(self) -> Totals: ...

    def push(
        self, image: Bytes, landmarks: Sequence[Point] | None, deadline_s: float | None
    ) -> list[Record]:
        """(H, W, 3) uint8 RGB -> a record for every face in it, scored in turn with the cameras'.

        An aligned 112x112 crop is taken as it is.
        With landmarks (5 points) one face is aligned.
        Otherwise the detector searches the picture.
        Blocks until scored. Of several faces, one whose deadline passed has the code `timeout`.
        Raises ConfigError where the image cannot be used (no detector), Overloaded when the deadline
        of no face can be kept or the gateway is starting, EngineFailed.
        """

    def push_crops(self, crops: Bytes) -> list[Record]:
        """(N, 112, 112, 3) uint8 RGB, aligned -> their records, scored together within one deadline.

        Raises Overloaded where the deadline of one cannot be kept, EngineFailed.
        """
