"""Pictures as JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from edge_fiqa.types import Bytes

JPEG_QUALITY = 90


def to_jpeg(image: Bytes, quality: int = JPEG_QUALITY) -> bytes | None:
    """(H, W, 3) uint8 RGB -> JPEG, or None where it is empty or too large for one."""
    try:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:
        return None
    return data.tobytes() if encoded else None


def smaller_jpeg(picture: bytes, longest_side: int) -> bytes | None:
    """A JPEG of ours, reduced to `longest_side` pixels where it is larger; None: it is damaged."""
    try:
        image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return None
        height, width = image.shape[:2]
        scale = longest_side / max(height, width)
        if scale >= 1:
            return picture
        size = max(1, round(width * scale)), max(1, round(height * scale))
        reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        encoded, data = cv2.imencode(".jpg", reduced, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    except cv2.error:
        return None
    return data.tobytes() if encoded else None
