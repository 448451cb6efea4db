"""How far a head is turned, read from the five points of an aligned face.

A similarity that brings the points onto the template keeps what a turn does to their proportions: a
yaw moves the nose along the line of the eyes, a pitch moves it between eyes and mouth.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.template import TEMPLATE
from edge_fiqa.types import IMAGE, Array, Bytes

MARGIN = 40  # pixels of drawn-out border, since a detector wants some room about a face
FULL_YAW = 0.45  # of the distance between the eyes, by which the nose is off their middle
FULL_PITCH = 0.25  # of the distance from eyes to mouth


def turns_of(faces: Bytes, detector: YuNet) -> Array:
    """(N, 2) strengths of yaw and pitch in [0, 1] of (N, 112, 112, 3) faces; NaN without points."""
    found = np.full((len(faces), 2), np.nan, np.float32)
    for row, face in enumerate(faces):
        wide = cv2.copyMakeBorder(face, *(4 * (MARGIN,)), cv2.BORDER_REPLICATE)
        detected = detector.detect(np.asarray(wide, np.uint8))
        if detected and _in_the_middle(detected[0].landmarks):
            found[row] = head_turn(detected[0].landmarks)
    return found


def head_turn(landmarks: Array) -> tuple[float, float]:
    """Strengths of yaw and pitch in [0, 1], from (5, 2) points in the template's order."""
    yaw, pitch = _proportions(np.asarray(landmarks, np.float64))
    usual_yaw, usual_pitch = _proportions(np.asarray(TEMPLATE, np.float64))
    return (
        float(np.clip(abs(yaw - usual_yaw) / FULL_YAW, 0, 1)),
        float(np.clip(abs(pitch - usual_pitch) / FULL_PITCH, 0, 1)),
    )


def _proportions(points: Array) -> tuple[float, float]:
    """Where the nose is: along the line of the eyes, and between eyes (0) and mouth (1)."""
    eyes, mouth, nose = points[:2].mean(0), points[3:].mean(0), points[2]
    across = points[1] - points[0]
    down = mouth - eyes
    yaw = (nose - eyes - down * 0.5) @ across / max(across @ across, 1e-6)
    return float(yaw), float((nose - eyes) @ down / max(down @ down, 1e-6))


def _in_the_middle(landmarks: Array) -> bool:
    """Not the points of somebody in the background."""
    middle = landmarks.mean(0) - MARGIN
    return bool((np.abs(middle - IMAGE / 2) < IMAGE / 4).all())
