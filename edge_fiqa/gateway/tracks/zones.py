"""In which named parts of a camera's picture a face is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.types import Box, Bytes, Point


class Zones:
    """Of one camera. polygons: zone -> points as shares of the picture's width and height.

    required: people who were in none of these are not announced; empty: everybody is.
    """

    def __init__(
        self, polygons: Mapping[str, Sequence[Point]], required: Sequence[str] = ()
    ) -> None:
        self.required = frozenset(required)
        self._shares = {name: np.array(points, np.float32) for name, points in polygons.items()}

    def noted(self, faces: Sequence[SeenFace], image: Bytes) -> Sequence[SeenFace]:
        """The faces of a picture (H, W, 3), each with its zones."""
        if not self._shares:
            return faces
        size = image.shape[1], image.shape[0]
        return [replace(face, zones=self.of(face.box, size)) for face in faces]

    def of(self, face: Box, size: tuple[int, int]) -> tuple[str, ...]:
        """The zones of a face's middle, in the order of the file; a border belongs to its zone.

        size: (width, height) of the picture, in whose pixels the face is.
        """
        x, y, width, height = face
        middle = (x + width / 2) / size[0], (y + height / 2) / size[1]
        return tuple(
            name
            for name, shares in self._shares.items()
            if cv2.pointPolygonTest(shares, middle, False) >= 0
        )
