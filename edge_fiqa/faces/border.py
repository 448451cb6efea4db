"""How much of an aligned face lies beyond the picture's border, where nothing was photographed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.template import similarity
from edge_fiqa.types import IMAGE, Floats

FACE_WINDOW: Final = (slice(24, 108), slice(22, 90))
"""Rows and columns of a crop that hold the face, from the forehead to the chin."""
FACE_CUT: Final = 0.12
"""Share of the window from which a face counts as cut. Of aligned test faces, whose black borders
come from their pictures, none has more than 0.1 black."""
CORNERS: Final = np.array([[0, 0], [0, IMAGE - 1], [IMAGE - 1, 0], [IMAGE - 1, IMAGE - 1]])
MOST_OUTSIDE: Final = 0.5
"""Share of the crop above which there is not enough of a face to score."""
MOST_POINTS_OUTSIDE: Final = 2


@dataclass(frozen=True)
class Outside:
    """What lies beyond the border. points: of the five; crop, face: shares of the crop, its window."""

    points: int
    crop: float
    face: float

    @property
    def too_much(self) -> bool:
        return self.points > MOST_POINTS_OUTSIDE or self.crop > MOST_OUTSIDE


def outside_picture(landmarks: npt.ArrayLike, width: int, height: int) -> Outside:
    """Of the crop that (5, 2) landmarks give in a picture of this size.

    Raises ImageRefused as `similarity` does.
    """
    move = similarity(landmarks)
    points = np.asarray(landmarks, np.float64)
    of_points = int(_beyond(points, width, height).sum())
    if not _beyond(_in_picture(CORNERS, move), width, height).any():
        return Outside(of_points, 0.0, 0.0)  # what lies between the corners is inside, too
    y, x = np.mgrid[:IMAGE, :IMAGE]
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    crop = _beyond(_in_picture(pixels, move), width, height).reshape(IMAGE, IMAGE)
    return Outside(of_points, float(crop.mean()), float(crop[FACE_WINDOW].mean()))


def _in_picture(pixels: npt.NDArray[np.int_], move: Floats) -> Floats:
    """Where (N, 2) pixels of the crop lie in the picture."""
    return np.asarray((pixels - move[:, 2]) @ np.linalg.inv(move[:, :2]).T)


def border_warnings(landmarks: npt.ArrayLike, width: int, height: int) -> tuple[str, ...]:
    """What a record says of a face that the border of its picture cuts."""
    try:
        outside = outside_picture(landmarks, width, height)
    except ImageRefused:
        return ()  # the points themselves are warned of
    if not outside.points and outside.face <= FACE_CUT:
        return ()
    share = f"{outside.crop:.0%}".replace("%", " %")
    return (f"face cut by the picture's border ({share} of the crop lies outside the picture)",)


def _beyond(points: npt.NDArray[np.float64], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Which of (N, 2) lie off the picture, whose pixels reach half a pixel around their centres."""
    return np.asarray(((points < -0.5) | (points > np.array([width, height]) - 0.5)).any(axis=1))
