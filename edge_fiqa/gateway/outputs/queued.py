"""What all sinks that write share: a bounded queue, and a thread that empties it in order."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence

from edge_fiqa.errors import counted
from edge_fiqa.files import no_descriptors
from edge_fiqa.gateway.events.event import Event

log = logging.getLogger(__name__)

Item = tuple[Event, bytes | None]

QUEUE = 10_000
"""Events in memory. Beyond it the oldest is dropped and counted."""
BATCH = 256
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
PAUSE_CLOSING_S = 0.05


class QueuedSink:
    """A sink whose `_deliver` may be slow and may fail. Subclasses call `_start` once they are ready.

    A batch is delivered as a whole or not at all.
    One that fails with an OSError or a database error is tried again, after a pause that doubles.
    Nothing overtakes it.
    """

    def __init__(self, name: str, *, queue: int = QUEUE) -> None:
        self.name = name
        self.delivered = self._overflowed = 0
        self._queue: deque[Item] = deque()
        self._limit = queue
        self._batch: list[Item] = []
        self._changed = threading.Condition()
        self._poked = False
        self._closing_until: float | None = None
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)

    def _start(self) -> None:
        self._thread.start()

    @property
    def problem(self) -> str | None:
        return self._problem

    @property
    def dropped(self) -> int:
        """Events given up because too many waited."""
        return self._overflowed

    @property
    def waiting(self) -> int:
        """Events not delivered yet."""
        return self._in_memory

    @property
    def _in_memory(self) -> int:
        return len(self._queue) + len(self._batch)

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        with self._changed:
            if self._closing_until is not None:
                self._overflowed += 1
                return
            if len(self._queue) >= self._limit:
                self._queue.popleft()
                self._overflowed += 1
            self._queue.append((event, snapshot))
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        with self._changed:
            if self._closing_until is None:
                self._closing_until = time.monotonic() + timeout_s
            self._changed.notify()
        self._thread.join(timeout_s)

    def _poke(self) -> None:
        """Have `_idle` called soon. Safe from any thread."""
        with self._changed:
            self._poked = True
            self._changed.notify()

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._finished():
            self._wait()
            try:
                try:
                    if self._take():
                        self._deliver(self._batch)
                        self._batch = []
                finally:
                    self._idle()
                pause, self._problem = FIRST_PAUSE_S, None
            except (OSError, sqlite3.Error) as exc:
                self._set_problem(reason(exc))
                self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            except Exception:  # a bug may cost this batch, but not the next ones
                dropped = counted(len(self._batch), "event")
                log.exception("%s: this is a bug; %s dropped", self.name, dropped)
                self._problem = "a bug; see the log"
                self._overflowed += len(self._batch)
                self._batch = []
        if self._in_memory:
            undelivered = counted(self._in_memory, "event")
            log.error("%s: %s could not be delivered", self.name, undelivered)
        self._finish()

    def _finished(self) -> bool:
        if self._closing_until is None:
            return False
        return not self._in_memory or time.monotonic() > self._closing_until

    def _wait(self) -> None:
        with self._changed:
            if not (self._queue or self._batch or self._poked):
                closing = self._closing_until is not None
                self._changed.wait(PAUSE_CLOSING_S if closing else self._idle_every_s())
            self._poked = False

    def _rest(self, seconds: float) -> None:
        if self._closing_until is not None:
            time.sleep(PAUSE_CLOSING_S)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closing_until is not None, seconds)

    def _take(self) -> bool:
        """Whether there is a batch: the one that failed before, or the next."""
        with self._changed:
            if not self._batch:
                count = min(BATCH, len(self._queue))
                self._batch = [self._queue.popleft() for _ in range(count)]
        return bool(self._batch)

    def _set_problem(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s: %s; trying again", self.name, problem)
        self._problem = problem

    def _deliver(self, batch: Sequence[Item]) -> None:
        """Raises OSError or sqlite3.Error if not all could be delivered; the batch then comes again."""
        raise NotImplementedError

    def _idle(self) -> None:
        """After every batch and poke, and at least every `_idle_every_s`; also while batches fail."""

    def _idle_every_s(self) -> float | None:
        return None

    def _finish(self) -> None:
        """The last call, in the sink's thread."""


def reason(exc: OSError | sqlite3.Error) -> str:
    """What went wrong, without the path that an OSError carries."""
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return no_descriptors() or " ".join(str(exc).split()) or type(exc).__name__
