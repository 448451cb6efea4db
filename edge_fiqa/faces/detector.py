"""Faces in a picture, one pass: YuNet (Wu et al., MIR 2023) through OpenCV's FaceDetectorYN."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.files import no_descriptors
from edge_fiqa.types import Array, Box, Bytes

LONGEST_SIDE = 640
"""Larger pictures are reduced for detection: YuNet detects faces of about 10 to 300 pixels."""
MIN_SCORE = 0.6
NO_DETECTOR = (
    "run pip install 'edge-fiqa[detector]', or edge-fiqa detector --download, "
    "or name the file of a YuNet with --detector FILE"
)


@dataclass(frozen=True)
class DetectedFace:
    """box: (x, y, width, height) in pixels of the picture; landmarks: (5, 2), template's order."""

    box: Box
    landmarks: Array
    score: float


class YuNet:
    """A loaded detector. Threads may share it: each computes with a network of its own.

    longest_side: pixels to which larger pictures are reduced. Raises ConfigError for a file that is
    no YuNet.
    """

    def __init__(
        self, model: Path | str, min_score: float = MIN_SCORE, longest_side: int = LONGEST_SIDE
    ) -> None:
        self.model, self.min_score, self.longest_side = Path(model), min_score, longest_side
        try:
            self._weights = np.fromfile(model, np.uint8)
        except OSError as exc:
            if (reason := no_descriptors()) is not None:
                raise ConfigError(f"detector {model}: {reason}") from exc
            reason = "no such file" if isinstance(exc, FileNotFoundError) else exc.strerror
            raise ConfigError(f"detector {model}: {reason}; {NO_DETECTOR}") from exc
        self._local = threading.local()
        try:
            self.detect(np.zeros((64, 64, 3), np.uint8))
        except (cv2.error, EngineFailed) as exc:
            reason = no_descriptors() or "it is not a YuNet ONNX model OpenCV can run"
            raise ConfigError(f"detector {model}: {reason}") from exc

    def detect(self, image: Bytes) -> list[DetectedFace]:
        """Faces in (H, W, 3) uint8 RGB, the largest first.

        Raises ConfigError for anything else, and EngineFailed.
        """
        check_picture(image)
        height, width = image.shape[:2]
        scale = min(1.0, self.longest_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if scale < 1:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        network = self._network()
        network.setInputSize(size)
        try:
            _, rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as exc:
            raise EngineFailed(f"YuNet failed on a picture of {size[0]}x{size[1]}") from exc
        if rows is None:
            return []
        back = np.array([width / size[0], height / size[1]], np.float32)
        # OpenCV 4.11 gives boxes without an area, and numbers that are none, for a strip of 1 pixel.
        rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)]
        return [_face(row, back) for row in sorted(rows, key=lambda row: -row[2] * row[3])]

    def _network(self) -> cv2.FaceDetectorYN:
        """This thread's. Two detections at a time would overwrite each other's input size."""
        if not hasattr(self._local, "network"):
            with _without_opencv_warnings():
                self._local.network = cv2.FaceDetectorYN.create(
                    "onnx", self._weights, np.empty(0, np.uint8), (320, 320), self.min_score
                )
        network: cv2.FaceDetectorYN = self._local.network
        return network


def check_picture(image: object) -> None:
    """Raises ConfigError for what is not a picture of (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        given = f"a {type(image).__name__}"
    elif image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return
    else:
        given = f"{image.shape} {image.dtype}"
    raise ConfigError(f"a picture to detect faces in is (H, W, 3) uint8 RGB, not {given}")


@contextmanager
def _without_opencv_warnings() -> Iterator[None]:
    """OpenCV 5 prints a warning of its own for every network that it opens for the CPU."""
    with _LOG_LEVEL:
        level = _LOG.getLogLevel()
        _LOG.setLogLevel(2)  # LOG_LEVEL_ERROR
        try:
            yield
        finally:
            _LOG.setLogLevel(level)


_LOG = getattr(cv2.utils, "logging", cv2)
"""Where these functions stand: in cv2 itself in 4.11 and 4.13, in cv2.utils.logging in 4.12 and 5.0."""
_LOG_LEVEL = threading.Lock()
"""The level is one for the whole process."""


def _face(row: Array, back: Array) -> DetectedFace:
    x, y, w, h = (float(v) for v in row[:4] * np.tile(back, 2))
    return DetectedFace((x, y, w, h), row[4:14].reshape(5, 2) * back, float(row[14]))
