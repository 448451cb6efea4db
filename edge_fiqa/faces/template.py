"""The five-point template of ArcFace, and the similarity that brings a face's points onto it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.types import Floats

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

POINT_NAMES: Final = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
ORDER: Final = f"{', '.join(POINT_NAMES)}, left being the image's left"

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
