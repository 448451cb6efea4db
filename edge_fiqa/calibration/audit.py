"""Is the gate's promise still kept in service? A few faces run to full depth as a check. Pure.

A calibration promises a flip rate for faces like those it was made from. Every audited face shows
whether the gate would have flipped. The audits feed a Shiryaev-Roberts e-detector (arXiv:2203.03532):
M <- (M + 1) L, where L is the likelihood of the audit at three times the allowed rate over that at
the allowed rate. While the promise is kept, the mean number of audits to a false alarm is at least
the alarm level, however long the service runs.

This needs independent audits, and frames of one person flip together. So a person (a track of video) is
audited and counted once, at the first face that is picked. A person with n faces is picked with
probability 1 - (1 - share)^n. That grows with n, up to about 1 / share faces.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Array, Bytes, Mask

SHARE = 0.01
ALARM = 10_000.0
TIMES = 3.0
KEPT = 5_000  # newest trails, for recalibration
EACH = 5  # of one person, drawn from all of theirs
KNOWN = 100_000  # newest persons who were audited


class _Person:
    """Trails of one person's faces: all, or EACH drawn from them with equal chances (reservoir)."""

    def __init__(self) -> None:
        self.faces = 0
        self.trails: list[Array] = []

    def add(self, trail: Array, rng: np.random.Generator) -> None:
        self.faces += 1
        if len(self.trails) < EACH:
            self.trails.append(trail)
        elif (slot := int(rng.integers(self.faces))) < EACH:
            self.trails[slot] = trail


class Audit:
    """Counts of audits, and the evidence against the promise. May be shared by threads.

    share: of faces audited, picked by their pixels, so that the same faces are picked again. faces,
    flips: audits counted, and those that flipped.
    """

    def __init__(self, risk: float, share: float = SHARE, *, alarm: float = ALARM) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"an audited share lies in [0, 1], got {share}")
        self.share, self.alarm = share, alarm
        self._lock, self._rng = threading.Lock(), np.random.default_rng(0)
        self.restart(risk)

    def restart(self, risk: float) -> None:
        """Forgets everything, after a recalibration."""
        with self._lock:
            self.risk = risk
            self.faces = self.flips = 0
            self.evidence = 0.0
            self.suspended: str | None = None
            self._counted: OrderedDict[str, None] = OrderedDict()
            self._forget()

    def chosen(self, crops: Bytes, persons: Sequence[str | None] = ()) -> Mask:
        """(N, 112, 112, 3) -> (N,) which of them to audit. persons: (N,), None where not known."""
        below = self.share * 2**32
        chosen = np.array([zlib.crc32(crop[::8].tobytes()) < below for crop in crops], bool)
        with self._lock:
            for row, person in enumerate(persons):
                chosen[row] &= person not in self._counted
        return chosen

    def see(
        self, trail: Array, flipped: bool, person: str | None = None, source: str | None = None
    ) -> None:
        """One face at full depth: its scores (E,), and whether the gate would have flipped it.

        person: whose face it is; None: a person not audited before. source: the group of the trail
        where the person is not known; None: a group of its own.
        """
        with self._lock:
            self._keep(trail, source if person is None else person)
            if self.suspended or person in self._counted:
                return
            if person is not None:
                self._counted[person] = None
                if len(self._counted) > KNOWN:
                    self._counted.popitem(last=False)
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
                self._forget()  # trails from before the alarm mix kept and broken promise

    @property
    def trails(self) -> tuple[Array, list[str]]:
        """Complete trails (n, E) since the last alarm or restart, and the persons or sources (n,)."""
        with self._lock:
            kept = [(t, name) for name, p in self._persons.items() for t in p.trails]
        return np.array([t for t, _ in kept], np.float32), [name for _, name in kept]

    def _forget(self) -> None:
        self._persons: OrderedDict[str, _Person] = OrderedDict()
        self._alone = self._kept = 0

    def _keep(self, trail: Array, name: str | None) -> None:
        if name is None:
            self._alone += 1
            name = f"\0{self._alone}"  # no name of a person or file
        person = self._persons.setdefault(name, _Person())
        self._persons.move_to_end(name)
        before = len(person.trails)
        person.add(trail, self._rng)
        self._kept += len(person.trails) - before
        while self._kept > KEPT:
            self._kept -= len(self._persons.popitem(last=False)[1].trails)
