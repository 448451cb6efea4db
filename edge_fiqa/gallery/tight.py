"""Pictures cut tightly around a face, as Frigate keeps them: what is around the face is made up.

An aligned crop shows some of what is around the face. Where more than half of it lies outside the
picture, `score` refuses the face, and black in its place costs quality: of 79 faces of LFW and CelebA
cut to 64x80, 20 points on average. Continued from the picture's border it is 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import align
from edge_fiqa.faces.border import outside_picture
from edge_fiqa.faces.images import read_picture
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.types import Bytes

LEAST_OUTSIDE: Final = 0.12
"""Share of the aligned crop that lies outside the picture, from which it is cut tightly."""
MOST_OF_FACE: Final = 0.25
"""Share of the face itself; where more is missing, the face is cut, not its surroundings."""
TIGHT: Final = "cut tightly around the face: what is around it is made up, which costs some quality"


def with_surroundings(
    face: FaceCrop | RefusedFace, path: Path, min_eye_px: float
) -> FaceCrop | RefusedFace:
    """The face as it is, or aligned anew with made-up surroundings where only those are missing."""
    if face.box is None or face.landmarks is None:
        return face
    try:
        picture = read_picture(path)
        landmarks = picture.inside(face.landmarks)
        crop = tight_crop(picture.pixels, landmarks, min_eye_px / picture.reduced)
    except ImageRefused:
        return face
    if crop is None:
        return face
    return FaceCrop(
        face.id, face.source, crop, face.box, face.landmarks, (*picture.warnings, TIGHT)
    )


def tight_crop(pixels: Bytes, landmarks: npt.ArrayLike, min_eye_px: float) -> Bytes | None:
    """(H, W, 3) and (5, 2) landmarks -> (112, 112, 3), the picture's border continued outwards.

    None where the surroundings are there, or where part of the face is missing. Raises ImageRefused.
    """
    height, width = pixels.shape[:2]
    outside = outside_picture(landmarks, width, height)
    if outside.crop < LEAST_OUTSIDE or outside.points or outside.face > MOST_OF_FACE:
        return None
    side = max(height, width)
    larger = cv2.copyMakeBorder(pixels, side, side, side, side, cv2.BORDER_REPLICATE)
    return align(larger, np.asarray(landmarks, np.float64) + side, min_eye_px)
