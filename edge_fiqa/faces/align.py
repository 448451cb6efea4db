"""Five-point alignment to the ArcFace template: the crop that recognisers and this model expect."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.types import IMAGE, Bytes, Floats

TEMPLATE = np.array(
    [
        [38.2946, 51.6963],  # eye on the image's left
        [73.5318, 51.5014],
        [56.0252, 71.7366],  # nose
        [41.5493, 92.3655],  # corner of the mouth on the image's left
        [70.7299, 92.2041],
    ]
)
"""ArcFace (arXiv:1801.07698), pixels (x, y) in a 112x112 crop."""

FARTHEST = 1e6  # pixels from the origin; larger coordinates are a mistake, and would overflow


def similarity(landmarks: npt.ArrayLike) -> Floats:
    """(2, 3) rotation, scale and shift that brings (5, 2) landmarks closest to the template.

    Least squares without reflection, in closed form: with points as complex numbers, the centred
    template is a times the centred landmarks, a = <landmarks, template> / |landmarks|^2. This is
    Umeyama's solution (IEEE PAMI 13(4), 1991) in the plane. Raises ImageRefused("no_face") if the
    points are not finite or all the same.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not (np.abs(points) < FARTHEST).all():  # NaN is not smaller
        raise ImageRefused("no_face", "the five landmarks are not finite points of a picture")
    source, target = points @ (1, 1j), TEMPLATE @ (1, 1j)
    centred = source - source.mean()
    spread = float((np.abs(centred) ** 2).sum())
    if spread < 1e-6:
        raise ImageRefused("no_face", "the five landmarks are one point")
    a = complex((centred.conj() * (target - target.mean())).sum()) / spread
    if abs(a) < 1e-9:
        raise ImageRefused("no_face", "the five landmarks do not look like a face")
    shift = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])


def eye_distance(landmarks: npt.ArrayLike) -> float:
    """Pixels between the centres of the eyes in the image the landmarks were found in."""
    points = np.asarray(landmarks, np.float64)
    return float(np.hypot(*(points[1] - points[0])))


def align(image: Bytes, landmarks: npt.ArrayLike, min_eye_px: float = 10.0) -> Bytes:
    """(H, W, 3) and (5, 2) landmarks -> (112, 112, 3): bilinear, black border.

    A face more than twice the size of the crop is reduced by area averaging first, so that fine
    detail does not turn into noise. Raises ImageRefused("too_small") if the eyes are closer than
    `min_eye_px`, ("no_face") for impossible landmarks and for a face outside the picture.
    """
    move = similarity(landmarks)
    if (distance := eye_distance(landmarks)) < min_eye_px:
        raise ImageRefused(
            "too_small",
            f"the eyes are {distance:.1f} pixels apart, below the limit of {min_eye_px:g}",
        )
    shrink = 1 / float(np.hypot(move[0, 0], move[1, 0]))  # source pixels per crop pixel
    if _outside(move, image.shape[1], image.shape[0]):
        raise ImageRefused("no_face", "the five landmarks lie outside the picture")
    if shrink > 2:
        height, width = image.shape[:2]
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Pixel centres: source = (reduced + 0.5) * factor - 0.5.
        x, y = width / size[0], height / size[1]
        move = move @ np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return cv2.warpAffine(image, move, (IMAGE, IMAGE), flags=cv2.INTER_LINEAR)


def _outside(move: Floats, width: int, height: int) -> bool:
    """Whether the crop, whose place in the picture `move` (2, 3) gives, reads none of it."""
    corners = np.array([[0, 0], [IMAGE, 0], [0, IMAGE], [IMAGE, IMAGE]]) - move[:, 2]
    reached = corners @ np.linalg.inv(move[:, :2]).T
    return bool((reached.max(0) < 0).any() or (reached.min(0) > (width, height)).any())
