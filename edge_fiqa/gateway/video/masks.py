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

    def blacken(self, image: Bytes) -> Bytes:
        """(H, W, 3) -> a copy with black masks, borders included; without masks, the picture itself."""
        if not self._shares:
            return image
        image = image.copy()
        last = image.shape[1] - 1, image.shape[0] - 1
        for shares in self._shares:
            cv2.fillPoly(image, [np.rint(shares * last).astype(np.int32)], (0, 0, 0))
        return image
