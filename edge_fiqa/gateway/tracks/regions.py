"""Which parts of a frame are looked at: rectangles around what changed and the faces it touches.

All coordinates are pixels of the frame as the detector searches it. A region begins and ends at
multiples of GRID, so that the network sees its pixels at the same places of its strides as in the
whole frame, and libraries meet few shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_fiqa.types import Box, Mask, Region

GRID = 64
MARGIN = 32  # around what changed: the network judges a face by what is around it
AROUND = np.array([-MARGIN, -MARGIN, MARGIN, MARGIN])
FACE_MARGIN = 0.5  # of a face's box, on every side
WORTHWHILE = 0.6  # share of the frame; a look at more costs as much as the whole


def regions_of(
    changed: Mask, faces: Sequence[Box], size: tuple[int, int]
) -> tuple[Region, ...] | None:
    """(h, w) where the frame changed, in cells, and boxes of known faces -> regions, None: the whole.

    size: (width, height) of the frame. A face that a region touches is wholly in it, as far as the
    frame shows it. Regions do not overlap.
    """
    scale = np.array([size[0] / changed.shape[1], size[1] / changed.shape[0]] * 2)
    count, _, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8))
    boxes = stats[1:count, :4] * scale
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    known = [_grown(face) for face in faces]
    regions = [_on_grid(box + AROUND, size) for box in corners]
    merged = _merged(regions, known, size)
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in merged)
    if area > WORTHWHILE * size[0] * size[1]:
        return None
    return tuple((left, top, right - left, bottom - top) for left, top, right, bottom in merged)


def touches(region: Region | Box, face: Box) -> bool:
    """Whether they share a pixel."""
    x, y, width, height = region
    left, top, right, bottom = face[0], face[1], face[0] + face[2], face[1] + face[3]
    return left < x + width and x < right and top < y + height and y < bottom


def _grown(face: Box) -> tuple[float, float, float, float]:
    x, y, width, height = face
    return (
        x - FACE_MARGIN * width,
        y - FACE_MARGIN * height,
        x + (1 + FACE_MARGIN) * width,
        y + (1 + FACE_MARGIN) * height,
    )


def _on_grid(corners: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top = (max(0, int(value // GRID) * GRID) for value in corners[:2])
    right, bottom = (
        min(limit, int(-(-value // GRID)) * GRID)
        for value, limit in zip(corners[2:], size, strict=True)
    )
    return left, top, right, bottom


def _merged(
    regions: list[tuple[int, int, int, int]],
    known: list[tuple[float, float, float, float]],
    size: tuple[int, int],
) -> list[tuple[int, int, int, int]]:
    """Regions and the faces that they touch, those that overlap as one, until nothing changes."""
    waiting, done = list(regions), list[tuple[int, int, int, int]]()
    while waiting:
        region = waiting.pop()
        others = [other for other in done if _overlap(region, other)]
        faces = [face for face in known if _overlap(region, face)]
        joined = _on_grid(_around([region, *others, *faces]), size)
        if joined == region and not others:
            done.append(region)
        else:
            done = [other for other in done if other not in others]
            waiting.append(joined)
    return done


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _around(corners: Sequence[Sequence[float]]) -> list[float]:
    points = np.array(corners, float)
    return [*points[:, :2].min(0), *points[:, 2:].max(0)]
