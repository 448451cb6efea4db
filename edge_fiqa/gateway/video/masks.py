"""Masks: parts of a camera's picture that nobody sees, neither the detector nor the page."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_fiqa.types import Bytes, Point


class Masks:
    """Of one camera. polygons: points as shares of the picture's width and height."""

    def __init__(self, polygons: Sequence[Sequence[Point]]) -> None:
        self._shares = [np.array(points, np.float64) for points in polygons]
        self._seen: Bytes | None = None  # of the latest size

    def blacken(self, image: Bytes) -> Bytes:
        """(H, W, 3) -> a copy with black masks; without masks, the picture itself.

        Every pixel that a mask touches is black, and up to two more at its border.
        """
        if not self._shares:
            return image
        if self._seen is None or self._seen.shape != image.shape[:2]:
            self._seen = self._unmasked(image.shape[1], image.shape[0])
        return cv2.bitwise_and(image, image, mask=self._seen)

    def _unmasked(self, width: int, height: int) -> Bytes:
        """(height, width) -> 0 where a mask is or touches, 255 elsewhere."""
        black = np.zeros((height, width), np.uint8)
        for shares in self._shares:
            cv2.fillPoly(black, [np.floor(shares * (width, height)).astype(np.int32)], 255)
        return 255 - cv2.dilate(black, np.ones((3, 3), np.uint8))
