"""Five-point alignment to the ArcFace template: the crop that recognisers and this model expect.

Landmarks are pixels of the picture as it is displayed, after EXIF rotation.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.border import outside_picture
from edge_fiqa.faces.crop_check import is_featureless, misaligned_by
from edge_fiqa.faces.landmark_fit import NO_FACE_PX, NORMALISED, misfit_px, probable_cause
from edge_fiqa.faces.template import TEMPLATE, similarity
from edge_fiqa.types import IMAGE, Bytes, Floats

__all__ = ["TEMPLATE", "align", "align_given", "eye_distance", "similarity"]

DOUBTFUL, CLEARER, CHANCE = -5.0, 4.0, -3.0
"""Above the first, the check of a crop (`misaligned_by`) is a reason to try other readings of its
points; one holds if its check is lower by the second, and than the third by as much: one of four crops
of a background reaches that."""
FROM_CENTRE = (
    "they look counted from the picture's centre; give pixels from its upper left corner: "
    "add half its width and half its height"
)
PERCENT = (
    "they look like percent of the picture's size; give pixels: "
    "multiply x by its width / 100 and y by its height / 100"
)
FROM_MINUS_ONE = "they look like shares from -1 to 1 that were read as 0 to 1; give pixels"
SIZES = (2.0, 4.0, 0.5, 0.25)
"""Of this picture, in sizes of the one that the points may belong to."""


def eye_distance(landmarks: npt.ArrayLike) -> float:
    """Pixels between the centres of the eyes, in the picture that the landmarks belong to."""
    points = np.asarray(landmarks, np.float64)
    return float(np.hypot(*(points[1] - points[0])))


def align(image: Bytes, landmarks: npt.ArrayLike, min_eye_px: float = 10.0) -> Bytes:
    """(H, W, 3) and (5, 2) landmarks -> (112, 112, 3): bilinear, black border.

    A face more than twice the size of the crop is reduced by area averaging first, so that fine
    detail does not turn into noise. Raises ImageRefused("too_small") if the eyes are closer than
    `min_eye_px`, ("no_face") for points that cannot be a face, with the probable cause, and for a
    face of which more than half lies outside the picture.
    """
    move = similarity(landmarks)
    _refuse_normalised(landmarks)
    if (misfit := misfit_px(landmarks)) > NO_FACE_PX:
        raise ImageRefused(
            "no_face",
            f"the five landmarks are not a face ({misfit:.0f} pixels off the template): "
            + probable_cause(landmarks),
        )
    if (distance := eye_distance(landmarks)) < min_eye_px:
        raise ImageRefused(
            "too_small",
            f"the eyes are {distance:.1f} pixels apart, below the limit of {min_eye_px:g}",
        )
    _refuse_outside(image, landmarks)
    return _crop(image, move)


def align_given(image: Bytes, landmarks: npt.ArrayLike, min_eye_px: float = 10.0) -> Bytes:
    """`align`, for landmarks that somebody else made: they may belong to another picture.

    Points of a picture of another size, of the stored picture before its EXIF rotation, from
    another origin or in percent fit the template all the same. Where their crop does not look like
    a face, and such a reading of the points gives one that does, ImageRefused("no_face") names it.
    """
    try:
        crop = align(image, landmarks, min_eye_px)
    except ImageRefused as refusal:
        if cause := _other_picture(image, landmarks, math.inf):
            raise ImageRefused("no_face", f"{refusal}, and {cause}") from refusal
        raise
    misaligned = misaligned_by(crop)
    if misaligned > DOUBTFUL and (cause := _other_picture(image, landmarks, misaligned)):
        raise ImageRefused("no_face", f"there is no face at the five landmarks: {cause}")
    return crop


def _other_picture(image: Bytes, landmarks: npt.ArrayLike, misaligned: float) -> str | None:
    """What the points look to belong to instead, None where no reading of them gives a face.

    misaligned: the check of the crop as the points were given; infinite where they give none.
    """
    height, width = image.shape[:2]
    points = np.asarray(landmarks, np.float64)
    x, y = points[:, 0], points[:, 1]
    stored = "they look like points of the stored picture; give those after its EXIF rotation"
    size_of_picture = np.array([width, height])
    readings = [
        (points + size_of_picture / 2, FROM_CENTRE),
        (points / 100 * size_of_picture, PERCENT),
        ((points + size_of_picture) / 2, FROM_MINUS_ONE),
        *((points * size, _of_size(1 / size)) for size in SIZES),
        (np.stack([width - 1 - y, x], axis=1), stored),
        (np.stack([y, height - 1 - x], axis=1), stored),
        (np.stack([width - 1 - x, height - 1 - y], axis=1), stored),
    ]
    checked = []
    for other, cause in readings:
        try:
            crop = align(image, other)
        except ImageRefused:
            continue
        if not is_featureless(crop):
            checked.append((misaligned_by(crop), cause))
    best = min(checked, default=(0.0, ""))
    return best[1] if best[0] < min(misaligned, CHANCE) - CLEARER else None


def _of_size(size: float) -> str:
    return f"they look like points of this picture at {size:g} times its size"


def _refuse_normalised(landmarks: npt.ArrayLike) -> None:
    points = np.asarray(landmarks, np.float64)
    if not (np.abs(points) <= NORMALISED).all():
        return
    if (points >= 0).all():
        span, remedy = "0 to 1", "multiply x by the picture's width and y by its height"
    else:
        span, remedy = (
            "-1 to 1",
            "add 1, multiply x by half the picture's width, y by half its height",
        )
    raise ImageRefused(
        "no_face", f"the five landmarks look normalised ({span}); give pixels: {remedy}"
    )


def _refuse_outside(image: Bytes, landmarks: npt.ArrayLike) -> None:
    outside = outside_picture(landmarks, image.shape[1], image.shape[0])
    if outside.too_much:
        raise ImageRefused(
            "no_face",
            f"{outside.points} of the five landmarks and {100 * outside.crop:.0f} % of the crop "
            "lie outside the picture",
        )


def _crop(image: Bytes, move: Floats) -> Bytes:
    shrink = 1 / float(np.hypot(move[0, 0], move[1, 0]))  # source pixels per crop pixel
    if shrink > 2:
        height, width = image.shape[:2]
        size = (round(width / shrink), round(height / shrink))  # half the crop is covered: not 0
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Pixel centres: source = (reduced + 0.5) * factor - 0.5.
        x, y = width / size[0], height / size[1]
        move = move @ np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return cv2.warpAffine(image, move, (IMAGE, IMAGE), flags=cv2.INTER_LINEAR)
