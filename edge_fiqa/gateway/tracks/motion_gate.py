"""How much of each frame of one camera is worth a look of the detector.

A frame is compared, at a fraction of its size and in luma, with what the detector looked at last in
each place. Where nothing changed since, another look would say the same: the faces there are carried
on. So slow changes add up until they are looked at, and people who stand still cost nothing. From
time to time the whole frame is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.tracks.regions import regions_of, touches
from edge_fiqa.types import Array, Box, Bytes, Mask, Region

CELLS = 160  # along the longer side of a frame
NEIGHBOURS = 3  # cells of 3x3 that must differ together: one alone is noise
SUDDEN = 0.5  # share of all cells: light went on or off


@dataclass(frozen=True)
class Look:
    """regions: in pixels of the frame as it is searched; None: the whole frame."""

    regions: tuple[Region, ...] | None

    def covers(self, face: Box) -> bool:
        """Whether this look says what became of a face."""
        return self.regions is None or any(touches(region, face) for region in self.regions)


WHOLE = Look(None)


class MotionGate:
    """Of one camera. Not thread-safe."""

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self._seen: Array | None = None  # (h, w) uint8: luma as it was when last looked at
        self._whole_at = -np.inf
        self._unsure: tuple[Box, ...] = ()
        self._confirming = False  # the last look was for those alone

    def plan(
        self, frame: Bytes, size: tuple[int, int], faces: Sequence[Box], now: float
    ) -> Look | None:
        """What to look at in a frame (H, W, 3) RGB at `now` seconds; None: nothing.

        size: (width, height) to which the detector reduces it. faces: boxes of the known ones, in it.
        """
        luma = _luma(frame)
        if self._seen is None or self._seen.shape != luma.shape:
            return self._all(luma, now)
        changed = self._changed(luma)
        due = now - self._whole_at >= self.config.still_s
        if due or changed.mean() > SUDDEN:
            return self._all(luma, now)
        cells = _cells_of(self._unsure, luma.shape, size)
        self._unsure, self._confirming = (), not changed.any()
        for part in cells:
            changed[part] = True
        if not changed.any():
            return None
        regions = regions_of(changed, faces, size)
        if regions is None:
            return self._all(luma, now)
        for part in _cells_of(regions, luma.shape, size):
            self._seen[part] = luma[part]
        return Look(regions)

    def look_again(self, faces: Sequence[Box]) -> None:
        """These faces, in pixels of the frame as searched, were seen once: the next frame decides.

        Only once: what is seen and not confirmed for ever is no face.
        """
        self._unsure = () if self._confirming else tuple(faces)

    def forget(self) -> None:
        """The look failed: the next frame is looked at as a whole."""
        self._seen = None

    def _all(self, luma: Array, now: float) -> Look:
        self._seen, self._whole_at = luma, now
        self._unsure, self._confirming = (), False
        return WHOLE

    def _changed(self, luma: Array) -> Mask:
        differs = cv2.absdiff(luma, self._seen) >= self.config.threshold
        together = cv2.boxFilter(differs.astype(np.uint8), -1, (3, 3), normalize=False)
        mask: Mask = together >= NEIGHBOURS
        return mask


def _luma(frame: Bytes) -> Array:
    """(h, w) uint8: the mean luma of the pixels of each cell."""
    height, width = frame.shape[:2]
    scale = min(1.0, CELLS / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    luma: Array = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return luma


def _cells_of(
    boxes: Sequence[Sequence[float]], shape: tuple[int, ...], size: tuple[int, int]
) -> list[tuple[slice, slice]]:
    """The cells that boxes (x, y, width, height) touch."""
    across, down = shape[1] / size[0], shape[0] / size[1]
    return [
        (
            slice(max(0, int(y * down)), max(0, int(np.ceil((y + height) * down)))),
            slice(max(0, int(x * across)), max(0, int(np.ceil((x + width) * across)))),
        )
        for x, y, width, height in boxes
    ]
