"""The detector on OpenCV, for machines without OpenVINO. It computes with OpenCV's own threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.engines.detector import OUTPUTS, no_yunet
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import Array, Bytes

LEAST_HEIGHT = 64
"""OpenCV 4.11 makes up faces in pictures of 32 rows: one row of places at the last stride."""


class DetectorOnOpenCV:
    """threads: not used; `cv2.setNumThreads` is one setting for the whole process."""

    def __init__(self, model: Path, data: bytes, threads: int) -> None:
        try:
            with _without_opencv_warnings():
                self._network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            if set(self._network.getUnconnectedOutLayersNames()) != set(OUTPUTS):
                raise no_yunet(model, "OpenCV")
        except cv2.error as exc:
            raise no_yunet(model, "OpenCV") from exc

    def run(self, picture: Bytes) -> Mapping[str, Array]:
        height = len(picture)
        if height < LEAST_HEIGHT:
            below = LEAST_HEIGHT - height
            picture = cv2.copyMakeBorder(picture, 0, below, 0, 0, cv2.BORDER_CONSTANT, value=0)
        try:
            self._network.setInput(cv2.dnn.blobFromImage(picture, swapRB=True))
            outputs = self._network.forward(OUTPUTS)
        except cv2.error as exc:
            width = picture.shape[1]
            raise EngineFailed(f"OpenCV failed on a picture of {width}x{height}") from exc
        return {
            name: output[0][: len(output[0]) * height // len(picture)]  # places row by row
            for name, output in zip(OUTPUTS, outputs, strict=True)
        }


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
