"""Faces in a picture: YuNet (Wu et al., MIR 2023) through OpenCV's FaceDetectorYN."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.types import Array, Bytes

LONGEST_SIDE = 640
"""Larger pictures are reduced for detection: YuNet finds faces of about 10 to 300 pixels."""


@dataclass(frozen=True)
class DetectedFace:
    """box: (x, y, width, height) in pixels of the picture; landmarks: (5, 2), template's order."""

    box: tuple[float, float, float, float]
    landmarks: Array
    score: float


class YuNet:
    """A loaded detector. Threads may share it: they wait for each other.

    longest_side: pixels to which larger pictures are reduced.
    """

    def __init__(
        self, model: Path, min_score: float = 0.6, longest_side: int = LONGEST_SIDE
    ) -> None:
        self.longest_side, self._lock = longest_side, threading.Lock()
        if not model.is_file():
            raise ConfigError(
                f"detector {model}: no such file; download face_detection_yunet_*.onnx from OpenCV Zoo"
            )
        try:
            self._net = cv2.FaceDetectorYN.create(str(model), "", (320, 320), min_score)
            self.detect(np.zeros((64, 64, 3), np.uint8))
        except (cv2.error, EngineFailed) as exc:
            raise ConfigError(f"detector {model} is not a YuNet ONNX model OpenCV can run") from exc

    def detect(self, image: Bytes) -> list[DetectedFace]:
        """Faces in (H, W, 3) uint8 RGB, the largest first. Raises EngineFailed."""
        height, width = image.shape[:2]
        scale = min(1.0, self.longest_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if scale < 1:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        try:
            with self._lock:  # of both: the size belongs to this picture
                self._net.setInputSize(size)
                _, rows = self._net.detect(bgr)
        except cv2.error as exc:
            raise EngineFailed(f"YuNet failed on a picture of {size[0]}x{size[1]}") from exc
        if rows is None:
            return []
        back = np.array([width / size[0], height / size[1]], np.float32)
        rows = sorted(rows, key=lambda row: -row[2] * row[3])
        return [self._face(row, back) for row in rows if np.isfinite(row).all()]

    @staticmethod
    def _face(row: Array, back: Array) -> DetectedFace:
        x, y, w, h = (float(v) for v in row[:4] * np.tile(back, 2))
        return DetectedFace((x, y, w, h), row[4:14].reshape(5, 2) * back, float(row[14]))
