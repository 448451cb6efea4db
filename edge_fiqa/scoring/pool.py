"""Equal engines side by side: each call takes one that is free."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_fiqa.engines.turn import AFTER_FORK
from edge_fiqa.errors import EngineFailed
from edge_fiqa.scoring.controller import Controller


class ControllerPool:
    """Lends each controller to one thread at a time; the others wait. Not usable after a fork.

    Raises EngineFailed once it is closed, in a forked child process, and where a thread would wait for
    itself.
    """

    def __init__(self, controllers: Sequence[Controller]) -> None:
        self.controllers = tuple(controllers)
        self._free = list(self.controllers)
        self._users: set[int] = set()
        self._changed = threading.Condition()
        self._closed, self._process = False, os.getpid()

    @contextmanager
    def take(self, wanted: Controller | None = None) -> Iterator[Controller]:
        """One that is free, or `wanted` once it is free."""
        controller = self._take(wanted)
        try:
            yield controller
        finally:
            self._give_back(controller)

    def check_open(self) -> None:
        if os.getpid() != self._process:  # the lock may be another thread's, which is not here
            raise EngineFailed(
                "this Scorer was opened before a fork, and its threads do not exist in the child "
                f"process; {AFTER_FORK}"
            )
        if self._closed:
            raise EngineFailed("this Scorer is closed; open another one")

    def close(self) -> None:
        """Free the engines, each once its thread is done. In a forked child nothing: it owns none."""
        if os.getpid() != self._process:
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for controller in self.controllers:
            controller.engine.close()

    def _take(self, wanted: Controller | None) -> Controller:
        self.check_open()
        with self._changed:
            while not (ready := [c for c in self._free if wanted is None or c is wanted]):
                if threading.get_ident() in self._users:
                    raise EngineFailed(
                        "this thread is scoring already, as a signal handler may find"
                    )
                self._changed.wait()
                self.check_open()
            self.check_open()
            self._free.remove(ready[0])
            self._users.add(threading.get_ident())
            return ready[0]

    def _give_back(self, controller: Controller) -> None:
        with self._changed:
            self._free.append(controller)
            self._users.discard(threading.get_ident())
            self._changed.notify_all()
