"""The three effects of the demonstration, which must run without torch: (112, 112, 3) in and out.

Strength is in [0, 1]; 0 leaves the face as it is. Training has its own, larger catalogue.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge_fiqa.types import IMAGE, Bytes


def defocus(face: Bytes, strength: float) -> Bytes:
    """Gaussian blur, sigma up to 6 pixels."""
    if strength <= 0:
        return face
    return np.asarray(cv2.GaussianBlur(face, (0, 0), 6 * strength), np.uint8)


def downsample(face: Bytes, strength: float) -> Bytes:
    """Reduced to as little as 10 pixels a side and enlarged again."""
    size = round(IMAGE + (10 - IMAGE) * strength)
    small = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (IMAGE, IMAGE)), np.uint8)


def occlusion(face: Bytes, strength: float) -> Bytes:
    """A grey block that grows upward from the chin."""
    out = face.copy()
    out[IMAGE - round(72 * strength) :] = (96, 110, 120)
    return out


EFFECTS: dict[str, Callable[[Bytes, float], Bytes]] = {
    "defocus": defocus,
    "downsample": downsample,
    "occlusion": occlusion,
}
