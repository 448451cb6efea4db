"""A face of a frame, detected again on its own: its points are more accurate, or it is no face.

One pass over a whole frame places the points of tilted and of small faces badly, and each pixel of
error costs quality (see faces/photo_detector.py). So the most promising face of every half second is
detected a second time. Of faces that are few pixels large, that detection sees too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import align
from edge_fiqa.faces.border import border_warnings
from edge_fiqa.faces.detector import DetectedFace
from edge_fiqa.gateway.tracks.face_finder import picture_of
from edge_fiqa.types import Array, Box, Bytes, Point

AROUND = 0.75  # of a box's width and height, kept on every side
SMALLEST_PX = 32  # of the longer side of a box; below it a second detection gives nothing better
BOX_PX = 120  # of the longer side of a box, below which its surroundings are enlarged

DetectFaces = Callable[[Bytes], Sequence[DetectedFace]]


@dataclass(frozen=True)
class FaceRegion:
    """A face with what is around it. box: in the frame; left, top: of the region; size: of the frame.

    pixels: (H, W, 3) uint8 RGB, a copy.
    """

    pixels: Bytes
    box: Box
    left: int
    top: int
    size: tuple[int, int]

    @classmethod
    def of(cls, image: Bytes, box: Box) -> FaceRegion:
        x, y, width, height = box
        left, top = max(0, int(x - AROUND * width)), max(0, int(y - AROUND * height))
        right, bottom = math.ceil(x + (1 + AROUND) * width), math.ceil(y + (1 + AROUND) * height)
        pixels = image[top : max(top + 1, bottom), left : max(left + 1, right)].copy()
        return cls(pixels, box, left, top, (image.shape[1], image.shape[0]))

    def picture(self, box: Box) -> Bytes:
        """A face of the frame that lies in the region, with a margin, for people to look at."""
        return picture_of(self.pixels, (box[0] - self.left, box[1] - self.top, *box[2:]))


@dataclass(frozen=True)
class ConfirmedFace:
    """box, landmarks: in pixels of the frame. crop: (112, 112, 3) uint8 RGB."""

    box: Box
    landmarks: tuple[Point, ...]
    crop: Bytes
    warnings: tuple[str, ...]


def look_again(region: FaceRegion, detect: DetectFaces, min_eye_px: float) -> ConfirmedFace | None:
    """The face of a region, None where there is none, or a very small one. Raises EngineFailed."""
    longer = max(region.box[2:])
    if longer < SMALLEST_PX:
        return None
    scale = max(1.0, BOX_PX / longer)
    near = [face for face in detect(_enlarged(region.pixels, scale)) if _is_it(face, region, scale)]
    if not near:
        return None
    face = max(near, key=lambda face: face.score)
    inside: Array = ((face.landmarks + 0.5) / scale - 0.5).astype(np.float32)
    try:
        crop = align(region.pixels, inside, min_eye_px)
    except ImageRefused:
        return None
    corner = np.array([region.left, region.top], np.float32)
    points = tuple((float(x), float(y)) for x, y in inside + corner)
    x, y, width, height = (side / scale for side in face.box)
    box = (x + region.left, y + region.top, width, height)
    return ConfirmedFace(box, points, crop, border_warnings(points, *region.size))


def _enlarged(pixels: Bytes, scale: float) -> Bytes:
    if scale == 1:
        return pixels
    larger: Bytes = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return larger


def _is_it(face: DetectedFace, region: FaceRegion, scale: float) -> bool:
    """Whether its points lie where the face of this region was, not a neighbour's."""
    x, y, width, height = region.box
    middle = (x + width / 2 - region.left, y + height / 2 - region.top)
    return math.dist(face.landmarks.mean(0) / scale, middle) < max(width, height) / 2
