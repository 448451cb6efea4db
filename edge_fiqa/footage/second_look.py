"""A face of a frame, detected again on its own: its points are more accurate, or it is no face.

One pass over a whole frame places the points of tilted and of small faces badly, and each pixel of
error costs quality. So a face is detected again in its surroundings, brought to one size, and once more
turned upright by what that gave: 47 points of quality where the frame's pass gave 10 (28 faces of two
tilted heads), as many as with the passes over photographs (faces/photo_detector.py), which take two to
six times as long. Of faces that are few pixels large, it sees too little.
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
from edge_fiqa.faces.detector import MIN_SCORE, DetectedFace
from edge_fiqa.gateway.tracks.face_finder import picture_of
from edge_fiqa.types import Array, Box, Bytes, Floats, Point

AROUND = 0.75  # of a box's width and height, kept on every side
SMALLEST_PX = 32  # of the longer side of a box; below it a second detection gives nothing better
FACE_PX = 210  # to which the longer side of a box is brought; as for photographs
WHOLE, CANVAS = 544, 320
"""Pixels a side of the view of all surroundings, and of the upright one. Both are always of one size,
since some engines compile a network for every new one."""
CANDIDATE = 0.3  # score from which the first of both passes counts; the last must reach MIN_SCORE

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
    """The face of a region, None where there is none, or a very small one. Raises EngineFailed.

    detect: with scores from CANDIDATE on.
    """
    if max(region.box[2:]) < SMALLEST_PX:
        return None
    face = _detected(region, detect, _scaled_view(region))
    if face is not None:
        face = _detected(region, detect, _upright_view(region, face.landmarks)) or face
    if face is None or face.score < MIN_SCORE:
        return None
    try:
        crop = align(region.pixels, face.landmarks, min_eye_px)
    except ImageRefused:
        return None
    corner = np.array([region.left, region.top], np.float32)
    points = tuple((float(x), float(y)) for x, y in face.landmarks + corner)
    x, y, width, height = face.box
    box = (x + region.left, y + region.top, width, height)
    return ConfirmedFace(box, points, crop, border_warnings(points, *region.size))


@dataclass(frozen=True)
class _View:
    """back: (2, 3), brings points of the view to the region."""

    pixels: Bytes
    back: Floats


def _detected(region: FaceRegion, detect: DetectFaces, view: _View) -> DetectedFace | None:
    """The surest face of a view that lies where the region's face was, in pixels of the region."""
    x, y, width, height = region.box
    middle = (x + width / 2 - region.left, y + height / 2 - region.top)
    near = [
        moved
        for moved in (_moved(face, view.back) for face in detect(view.pixels))
        if math.dist(moved.landmarks.mean(0), middle) < max(width, height) / 2
    ]
    return max(near, key=lambda face: face.score, default=None)


def _scaled_view(region: FaceRegion) -> _View:
    """In the upper left corner of a black picture."""
    scale = FACE_PX / max(region.box[2:])
    size = [min(WHOLE, max(1, round(side * scale))) for side in region.pixels.shape[1::-1]]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = np.zeros((WHOLE, WHOLE, 3), np.uint8)
    pixels[: size[1], : size[0]] = cv2.resize(region.pixels, size, interpolation=method)
    x, y = region.pixels.shape[1] / size[0], region.pixels.shape[0] / size[1]
    # Pixel centres: region = (view + 0.5) * factor - 0.5.
    return _View(pixels, np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]))


def _upright_view(region: FaceRegion, landmarks: Array) -> _View:
    """Around the face, turned so that eyes and mouth are level."""
    across = landmarks[1] - landmarks[0] + landmarks[4] - landmarks[3]
    roll, reduce = math.atan2(across[1], across[0]), max(region.box[2:]) / FACE_PX
    turn = reduce * np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    shift = landmarks.mean(0) - turn @ ((CANVAS - 1) / 2, (CANVAS - 1) / 2)
    back = np.column_stack([turn, shift])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pixels: Bytes = cv2.warpAffine(region.pixels, back, (CANVAS, CANVAS), flags=flags)
    return _View(pixels, back)


def _moved(face: DetectedFace, back: Floats) -> DetectedFace:
    """The box becomes the smallest upright one around its corners."""
    x, y, w, h = face.box
    corners = (
        np.array([[x, y], [x + w, y], [x, y + h], [x + w, y + h]]) @ back[:, :2].T + back[:, 2]
    )
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    points: Array = (face.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return DetectedFace(box, points, face.score)
