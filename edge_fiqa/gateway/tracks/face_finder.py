"""From a frame to faces worth scoring: detect, check size and pose, align.

Pose is estimated from the five landmarks.
The estimate is rough: it only decides which faces are not worth a score.

- roll: the angle of the line through the eyes, in degrees.
- turn: 2 |(nose - m) . u| / d, with m the middle between the eyes, d their distance and u the unit
  vector from one to the other.
  It is 0 for a face seen from the front, and 1 with the nose below an eye.
  Let d0 be the distance of the eyes seen from the front.
  For a nose that stands out by 0.55 d0, turn is 1.1 tan(yaw): 0.64 at 30 degrees, 0.9 at 39.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import align, eye_distance
from edge_fiqa.faces.border import border_warnings
from edge_fiqa.faces.detector import DetectedFace, YuNet
from edge_fiqa.gateway.config.gateway import DetectorConfig, FacesConfig
from edge_fiqa.reasons.causes import CAUSES
from edge_fiqa.types import Box, Bytes, Point, Region

SkipReason = Literal[
    "too_small",
    "pose",
    "no_landmarks",
    "unconfirmed",
    "unchanged",
    "stationary",
    "good_shot",
    "overload",
    "not_finite",
    "engine",
]
"""Why a face was not scored."""

MARGIN = 0.25  # of a box, added on every side of its picture


@dataclass(frozen=True)
class SeenFace:
    """A face in a frame.

    box: (x, y, width, height) in pixels.
    crop: (112, 112, 3) uint8 RGB, aligned; None where `skip` says why not.
    instruction: what the person can do about `skip`.
    zones: of the camera, in which its middle is.
    """

    box: Box
    landmarks: tuple[Point, ...]
    score: float
    crop: Bytes | None
    skip: SkipReason | None = None
    warnings: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    instruction: str | None = None


class FindFaces(Protocol):
    def find(self, image: Bytes, regions: Sequence[Region] | None = None) -> Sequence[SeenFace]:
        """(H, W, 3) uint8 RGB -> its faces, or those in regions of the picture as it is searched.

        Threads may share it. Raises EngineFailed.
        """

    def searched_size(self, image: Bytes) -> tuple[int, int]:
        """Width and height to which the picture is reduced before it is searched."""


class FaceFinder:
    """YuNet and the limits that the configuration names. Threads may share it.

    Raises ConfigError for a detector that cannot be loaded.
    """

    def __init__(self, detector: DetectorConfig, limits: FacesConfig) -> None:
        self.limits = limits
        self._yunet = YuNet(
            detector.model,
            detector.min_score,
            detector.longest_side,
            backend=detector.backend,
            threads=detector.threads,
        )

    def find(self, image: Bytes, regions: Sequence[Region] | None = None) -> list[SeenFace]:
        """(H, W, 3) uint8 RGB -> its faces, the largest first."""
        return [self._seen_face(image, face) for face in self._yunet.detect(image, regions)]

    def searched_size(self, image: Bytes) -> tuple[int, int]:
        return self._yunet.searched_size(image.shape[1], image.shape[0])

    def _seen_face(self, image: Bytes, face: DetectedFace) -> SeenFace:
        points = tuple((float(x), float(y)) for x, y in face.landmarks)
        skip, crop = skip_reason(points, self.limits), None
        cut: tuple[str, ...] = ()
        if skip is None:
            try:
                crop = align(image, face.landmarks, self.limits.min_eye_px)
                cut = border_warnings(face.landmarks, image.shape[1], image.shape[0])
            except ImageRefused as refusal:
                skip = "too_small" if refusal.code == "too_small" else "no_landmarks"
        advice = None if skip is None else instruction_about(skip, points, self.limits)
        return SeenFace(face.box, points, face.score, crop, skip, cut, instruction=advice)


def skip_reason(landmarks: Sequence[Point], limits: FacesConfig) -> SkipReason | None:
    """Why a face with these landmarks is not worth scoring, or None."""
    distance = eye_distance(landmarks)
    if not math.isfinite(distance) or distance <= 0:
        return "no_landmarks"
    if distance < limits.min_eye_px:
        return "too_small"
    if abs(roll(landmarks)) > limits.max_roll or turn(landmarks) > limits.max_turn:
        return "pose"
    return None


def instruction_about(
    skip: SkipReason, landmarks: Sequence[Point], limits: FacesConfig
) -> str | None:
    """What a person whose face is not scored for this reason can do about it, or None."""
    if skip == "too_small":
        return CAUSES["low_resolution"].instruction
    if skip == "pose":
        return CAUSES["roll" if abs(roll(landmarks)) > limits.max_roll else "yaw"].instruction
    return None


def roll(landmarks: Sequence[Point]) -> float:
    """Degrees by which the line through the eyes is off the horizontal, clockwise."""
    (ax, ay), (bx, by) = landmarks[:2]
    return math.degrees(math.atan2(by - ay, bx - ax))


def turn(landmarks: Sequence[Point]) -> float:
    """How far the nose is off the middle between the eyes, along their line (see above)."""
    points = np.asarray(landmarks, np.float64)
    between = points[1] - points[0]
    off = (points[2] - (points[0] + points[1]) / 2) @ between
    return float(2 * abs(off) / (between @ between))


def picture_of(image: Bytes, box: Box) -> Bytes:
    """A copy of the face with a margin, for people to look at."""
    x, y, width, height = box
    left, top = max(0, int(x - MARGIN * width)), max(0, int(y - MARGIN * height))
    right = max(left + 1, int(x + (1 + MARGIN) * width))
    bottom = max(top + 1, int(y + (1 + MARGIN) * height))
    return image[top:bottom, left:right].copy()
