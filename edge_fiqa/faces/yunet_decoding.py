"""From YuNet's outputs to faces, in NumPy. Formulas: Wu et al., MIR 2023, and OpenCV's FaceDetectorYN.

At every place (column c, row r) of the strides s = 8, 16, 32 the network states:

- how probable a face is: sqrt(cls obj), both cut to 0..1;
- its box: the middle is s (c + b0, r + b1), the size s (exp b2, exp b3);
- its five points: s (c + k0, r + k1), ..., in the order of the template.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from edge_fiqa.engines.detector import STRIDES
from edge_fiqa.types import Array, Bytes

LARGEST_STRIDE = STRIDES[-1]
SAME_FACE = 0.3  # intersection over union above which the less probable of two boxes goes
MOST_PLACES = 5000  # the most probable of all


def padded_width(width: int) -> int:
    """The next multiple of the largest stride."""
    return -(-width // LARGEST_STRIDE) * LARGEST_STRIDE


def padded(picture: Bytes) -> Bytes:
    """(H, W, 3) with black below and to the right, so that both sides are multiples of 32."""
    height, width = picture.shape[:2]
    below, right = padded_width(height) - height, padded_width(width) - width
    if not below and not right:
        return picture
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=0)


def decode_faces(outputs: Mapping[str, Array], width: int, min_score: float) -> Array:
    """Outputs for a picture of `width` pixels, padded -> (F, 15): x, y, width, height, 5 points, score.

    The most probable first. Of boxes that overlap, only the most probable is there.
    """
    rows = np.concatenate([_rows_of(outputs, stride, width, min_score) for stride in STRIDES])
    # A strip of 1 pixel gives boxes without an area, and numbers that are none.
    rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)]
    if len(rows) < 2:
        return rows
    # Overlap is of boxes in whole pixels, as in OpenCV.
    boxes = np.trunc(rows[:, :4]).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(
        boxes.tolist(), rows[:, 14].tolist(), min_score, SAME_FACE, top_k=MOST_PLACES
    )
    return rows[np.ravel(kept).astype(int)]


def _rows_of(outputs: Mapping[str, Array], stride: int, width: int, min_score: float) -> Array:
    cls, obj = (np.clip(outputs[f"{name}_{stride}"][:, 0], 0, 1) for name in ("cls", "obj"))
    score = np.sqrt(cls * obj)
    places = np.flatnonzero(score >= min_score)
    box, points = outputs[f"bbox_{stride}"][places], outputs[f"kps_{stride}"][places]
    corner = np.stack([places % (width // stride), places // (width // stride)], 1)
    corner = corner.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.exp(box[:, 2:]) * stride
        start = (corner + box[:, :2]) * stride - size / 2
        landmarks = (points.reshape(-1, 5, 2) + corner[:, None]) * stride
    rows: Array = np.hstack(
        [start, size, landmarks.reshape(-1, 10), score[places, None]], dtype=np.float32
    )
    return rows
