"""Is the gate's promise still kept in service? A few faces run to full depth to find out. Pure.

A calibration promises a flip rate for faces like those it was made from. Every audited face shows
whether the gate would have flipped. The audits feed a Shiryaev-Roberts e-detector (arXiv:2203.03532):
M <- (M + 1) L, where L is the likelihood of the audit at three times the allowed rate over that at
the allowed rate. While the promise is kept, the mean number of audits to a false alarm is at least
the alarm level, however long the service runs.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque

import numpy as np

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array, Bytes, Mask

SHARE = 0.01
ALARM = 10_000.0
TIMES = 3.0
KEPT = 5_000  # newest trails, for recalibration


class Audit:
    """What audits have shown so far. May be shared by threads.

    share: of faces audited, picked by their pixels, so that the same faces are picked again.
    """

    def __init__(self, risk: float, share: float = SHARE, *, alarm: float = ALARM) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"an audited share lies in [0, 1], got {share}")
        self.share, self.alarm = share, alarm
        self._lock = threading.Lock()
        self.restart(risk)

    def restart(self, risk: float) -> None:
        """Forget everything, after a recalibration."""
        with self._lock:
            self.risk = risk
            self.faces = self.flips = 0
            self.evidence = 0.0
            self.suspended: str | None = None
            self._trails: deque[Array] = deque(maxlen=KEPT)

    def chosen(self, crops: Bytes) -> Mask:
        """(N, 112, 112, 3) -> (N,) which of them to audit."""
        below = self.share * 2**32
        return np.array([zlib.crc32(crop[::8].tobytes()) < below for crop in crops], bool)

    def see(self, trail: Array, flipped: bool) -> None:
        """One face at full depth: its scores (E,), and whether the gate would have flipped it."""
        with self._lock:
            self._trails.append(trail)
            if self.suspended:
                return
            self.faces += 1
            self.flips += flipped
            worse = min(TIMES * self.risk, (1 + self.risk) / 2)
            ratio = worse / self.risk if flipped else (1 - worse) / (1 - self.risk)
            self.evidence = (self.evidence + 1) * ratio
            if self.evidence >= self.alarm:
                self.suspended = (
                    f"early exits suspended: {self.flips} of {self.faces} audited decisions differ "
                    f"from full depth, {self.risk:.2%} were promised; recalibrate"
                )
                self._trails.clear()  # those before the alarm are of both worlds

    @property
    def trails(self) -> Array:
        """(n, E) complete trails, since the alarm if there was one."""
        with self._lock:
            return np.array(self._trails, np.float32)
