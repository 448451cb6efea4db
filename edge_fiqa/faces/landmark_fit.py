"""Can five points be a face? Judged by how well they fit the template, and why not if they do not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.template import ORDER, POINT_NAMES, TEMPLATE, similarity
from edge_fiqa.types import Floats

POOR_FIT_PX: Final = 8.5
"""Above, a record warns. About 1 of 200 detected faces lies above it: extreme profiles, masks."""
NO_FACE_PX: Final = 13.0
"""Above, the points are refused. Detected faces reach 12.1, wrong orders start at 14.7."""
NORMALISED: Final = 1.5
"""Coordinates from 0 to about 1 are shares of the picture's size: no face is so small in pixels."""
SIDEWAYS: Final = 60.0
"""Degrees by which a face is turned in the picture, from which another explanation is preferred."""

KNOWN_ORDERS: Final = {
    (1, 0, 2, 4, 3): "left and right look exchanged",
    (1, 0, 2, 3, 4): "the two eyes look exchanged",
    (0, 1, 2, 4, 3): "the two corners of the mouth look exchanged",
}


def misfit_px(landmarks: npt.ArrayLike) -> float:
    """Root mean square distance of five points (5, 2) from the template, in pixels of the crop.

    After the similarity that fits best. Raises ImageRefused as `similarity` does.
    """
    points = np.asarray(landmarks, np.float64)
    return float(np.sqrt(np.mean(np.sum((_moved(points) - TEMPLATE) ** 2, axis=1))))


def fit_warnings(landmarks: npt.ArrayLike) -> tuple[str, ...]:
    """What a record says of points that may be a face but fit poorly."""
    try:
        misfit = misfit_px(landmarks)
    except ImageRefused as refusal:
        return (str(refusal),)
    if misfit <= POOR_FIT_PX:
        return ()
    return (f"the landmarks fit a face poorly ({misfit:.1f} pixels off the template)",)


def probable_cause(landmarks: npt.ArrayLike) -> str:
    """Why five points are not a face: the mistake that, once undone, makes them fit best.

    A face that is upright after the correction is preferred: exchanged sides and exchanged axes are
    mirror images of each other, and differ only in how the face is turned.
    """
    points = np.asarray(landmarks, np.float64)
    for corrections in (_usual_corrections(points), _other_orders(points)):
        fitting = [
            (_roll(corrected) > SIDEWAYS, misfit_px(corrected), cause)
            for corrected, cause in corrections
            if misfit_px(corrected) <= POOR_FIT_PX
        ]
        if fitting:
            return f"{min(fitting)[2]}; expected: {ORDER}"
    return f"no order of them fits a face; expected: {ORDER}"


def _usual_corrections(points: Floats) -> Iterator[tuple[Floats, str]]:
    """The points after each usual mistake is undone, and what the mistake is called."""
    yield points[:, ::-1], "y looks to come before x"
    flat = points.ravel()
    yield np.stack([flat[:5], flat[5:]], axis=1), "all x look to come before all y"
    yield np.stack([flat[5:], flat[:5]], axis=1), "all y look to come before all x"
    for order, cause in KNOWN_ORDERS.items():
        yield points[list(order)], cause


def _other_orders(points: Floats) -> Iterator[tuple[Floats, str]]:
    for order in permutations(range(5)):
        if order not in KNOWN_ORDERS:
            given = ", ".join(POINT_NAMES[order.index(place)] for place in range(5))
            yield points[list(order)], f"they look to be in the order {given}"


def _moved(points: Floats) -> Floats:
    move = similarity(points)
    return points @ move[:, :2].T + move[:, 2]


def _roll(points: Floats) -> float:
    """Degrees by which the face is turned in the picture, 0 to 180."""
    move = similarity(points)
    return float(abs(np.degrees(np.arctan2(move[1, 0], move[0, 0]))))
