"""Where frames come from: streams, files and webcams through OpenCV, and folders of images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import cv2

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.formats import READABLE
from edge_fiqa.faces.images import decode
from edge_fiqa.files import no_descriptors
from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.config.decode import Acceleration, DecodeConfig
from edge_fiqa.gateway.video.diagnosis import NOT_A_VIDEO, why_not_open
from edge_fiqa.gateway.video.source_lost import SourceLost
from edge_fiqa.gateway.video.stream import Stream
from edge_fiqa.types import Bytes

SLOWEST_FPS, FASTEST_FPS = 1.0, 240.0  # a file that states another speed plays at DEFAULT_FPS
DEFAULT_FPS = 25.0


class Capture(Protocol):
    """An open source. One thread at a time."""

    def grab(self) -> bool:
        """Wait for the next frame. False at the end of a file; raises SourceLost for a live source."""

    def retrieve(self) -> Bytes | None:
        """Decode what was grabbed: (H, W, 3) uint8 RGB, or None where it is damaged."""

    def close(self) -> None: ...


def open_capture(config: CameraConfig) -> Capture:
    """Raises SourceLost."""
    if config.kind == "images":
        return ImageFolder(Path(config.address), config.fps)
    if config.kind == "stream" and config.decode == DecodeConfig():
        return Stream(config)
    return Video(config)


class Video:
    """A stream, file or webcam. A file plays at its own speed, as if it happened now."""

    def __init__(self, config: CameraConfig) -> None:
        self.live = config.kind != "file"
        timeout_ms = round(1000 * config.timeout_s)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            timeout_ms,
        ]
        try:
            if config.kind == "webcam":
                self._video: Any = cv2.VideoCapture(int(config.address))
            elif (pipeline := config.decode.pipeline_of(config.address)) is not None:
                self._video = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
            elif config.kind == "file" and config.decode.acceleration == "none":
                self._video = cv2.VideoCapture(config.address)
            else:
                limits += _acceleration(config.decode.acceleration)
                self._video = cv2.VideoCapture(config.address, cv2.CAP_FFMPEG, limits)
        except cv2.error as exc:
            raise SourceLost(no_descriptors() or "the source could not be opened") from exc
        if not self._video.isOpened():
            raise SourceLost(no_descriptors() or _reason(config))
        if config.kind == "file":
            self._video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # OpenCV 4.11 has it off
        fps = float(self._video.get(cv2.CAP_PROP_FPS))
        self._period = 1 / (fps if SLOWEST_FPS <= fps <= FASTEST_FPS else DEFAULT_FPS)
        self._next = time.monotonic()

    def grab(self) -> bool:
        if not self.live:
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = max(self._next + self._period, time.monotonic() - 1.0)
        if self._video.grab():
            return True
        if self.live:
            raise SourceLost("the stream stopped")
        return False

    def retrieve(self) -> Bytes | None:
        try:
            decoded, image = self._video.retrieve()
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if decoded else None
        except cv2.error:
            return None

    def close(self) -> None:
        self._video.release()


def _reason(config: CameraConfig) -> str:
    """Password, host and path first; the decoder only where the server is not at fault."""
    why, decoder = _why_not_open(config), _why_not_decoded(config.decode)
    unclear = why == NOT_A_VIDEO or config.kind != "stream"
    return decoder if decoder is not None and unclear else why


def _why_not_open(config: CameraConfig) -> str:
    if config.kind == "stream":
        return why_not_open(config.address, config.timeout_s)
    if config.kind == "webcam":
        return "no such webcam, or another program uses it"
    return "no such file, or not a video that OpenCV can read"


def _acceleration(name: Acceleration) -> list[int]:
    """OpenCV's property for it; none for `none`, which every version knows."""
    if name == "none":
        return []
    value = getattr(cv2, f"VIDEO_ACCELERATION_{name.upper()}", None)
    if value is None:
        raise SourceLost(f"decode.acceleration: OpenCV {cv2.__version__} does not know {name}")
    return [cv2.CAP_PROP_HW_ACCELERATION, int(value)]


def _why_not_decoded(decode: DecodeConfig) -> str | None:
    """A reason to suspect first where a camera asks for a decoder of its own."""
    if decode.gstreamer is not None:
        return (
            "GStreamer could not open it: an error in decode.gstreamer, or an OpenCV without GStreamer "
            "(edge-fiqa doctor says which decoders there are)"
        )
    if decode.acceleration not in ("none", "any"):
        return (
            f"no answer, or no decoder {decode.acceleration} here: try decode.acceleration: any "
            "(edge-fiqa doctor says which decoders there are)"
        )
    return None


class ImageFolder:
    """The pictures of a folder in the order of their names, `fps` in a second."""

    def __init__(self, folder: Path, fps: float) -> None:
        try:
            self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in READABLE)
        except OSError as exc:
            raise SourceLost(f"the folder cannot be read: {exc.strerror}") from exc
        if not self._paths:
            raise SourceLost("the folder holds no images")
        self._index, self._period, self._next = -1, 1 / fps, time.monotonic()

    def grab(self) -> bool:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next += self._period
        self._index += 1
        return self._index < len(self._paths)

    def retrieve(self) -> Bytes | None:
        try:
            return decode(self._paths[self._index])
        except ImageRefused:
            return None

    def close(self) -> None:
        """Nothing is held."""
