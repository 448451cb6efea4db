"""Plans that are built while the gateway starts or runs: reported to those who must wait for them.

systemd would end a start that takes too long.
The gateway would stop because of a worker that gives no sign of life.
Both wait as long as the builder itself gives signs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edge_fiqa.engines.build_progress import BuildProgress, ProgressLines, Repeating
from edge_fiqa.gateway.service.notify import notify

STATUS_S = 1.0  # between two messages to the service manager
PATIENCE_S = 600.0
"""A builder that gives no sign for longer hangs. One of its steps takes seconds, seldom minutes."""


class BuildWatch:
    """Receives the progress of builds (`reporting_to`).

    now: what is being built, for people; None if nothing is.
    heard_at: the clock at the last sign, the end of a series included.
    """

    def __init__(
        self,
        report: Callable[[BuildProgress | None], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._clock = report or Repeating(ProgressLines()), clock
        self._lock = threading.Lock()
        self.now: str | None = None
        self.heard_at = self._notified_at = -PATIENCE_S

    def patient(self) -> bool:
        """Whether a builder is at work and has given a sign lately: waiting for it is no fault."""
        return self.now is not None and self._clock() - self.heard_at < PATIENCE_S

    def __call__(self, event: BuildProgress | None) -> None:
        with self._lock:
            self._report(event)
            self.heard_at = self._clock()
            if event is None:
                if self.now is not None:
                    notify("STATUS=plans are built")
                self.now = None
                return
            self.now = f"building {event}, {event.share:.0%}"
            if event.state == "waiting":
                self.now = f"another process is building; waiting with {event}"
            if self.heard_at - self._notified_at >= STATUS_S or event.state != "building":
                self._notified_at = self.heard_at
                notify(f"STATUS={self.now}\nEXTEND_TIMEOUT_USEC={PATIENCE_S * 1e6:.0f}")
