"""When a frame of a video was shown: by its own time stamp, or counted where the file has none.

A stated frame rate is not trusted where there are time stamps: recorders of browsers and telephones
write a nominal one, and take frames as they come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SLOWEST_FPS, FASTEST_FPS = 1.0, 250.0
"""A stated rate beyond these is a placeholder (0, 1000, 90000)."""
DEFAULT_FPS = 25.0
RESTART_S = 1.0
"""A stamp that lies so far before the last one begins a new count: recordings that were joined."""
LEAST_STEP_S = 1e-3


@dataclass(frozen=True)
class FrameClock:
    """stamped: frames have time stamps. period_s: between two frames, at the median.

    warning: what is not as it should be, in words; None if nothing is.
    """

    stamped: bool
    period_s: float
    warning: str | None = None

    @classmethod
    def of(cls, stamps_ms: Sequence[float], stated_fps: float) -> FrameClock:
        """Of the stamps of a video's first frames, and the frame rate that it states."""
        plausible = SLOWEST_FPS <= stated_fps <= FASTEST_FPS  # False for NaN
        stated_period_s = 1 / (stated_fps if plausible else DEFAULT_FPS)
        if len(stamps_ms) < 2:
            return cls(True, stated_period_s)
        step_s = float(np.median(np.diff(stamps_ms))) / 1000
        if step_s >= 1 / FASTEST_FPS:  # False for NaN
            return cls(True, step_s)
        source = "as it states" if plausible else f"it states {stated_fps:g}, so times may be wrong"
        return cls(
            False,
            stated_period_s,
            f"it has no usable time stamps: times are counted at {1 / stated_period_s:g} frames/s "
            f"({source})",
        )


class FrameTimes:
    """Seconds of frame after frame, always rising. restarts: stamps that began to count anew."""

    def __init__(self, clock: FrameClock) -> None:
        self.clock, self.restarts = clock, 0
        self._last, self._shift = -math.inf, 0.0

    def next(self, number: int, stamp_ms: float) -> float:
        """Of frame `number`, counted from 0; frames come in the order in which they are shown."""
        period_s = self.clock.period_s
        stamped = self.clock.stamped and math.isfinite(stamp_ms)
        time_s = (stamp_ms / 1000 + self._shift) if stamped else number * period_s
        if time_s < self._last - RESTART_S:
            self.restarts += 1
            self._shift += self._last + period_s - time_s
            time_s = self._last + period_s
        self._last = round(max(time_s, self._last + LEAST_STEP_S), 6)
        return self._last
