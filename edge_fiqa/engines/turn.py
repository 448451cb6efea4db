"""One thread at a time: the right to use an object that computes in buffers of its own.

Where two threads use such an object at once, one gets the other's scores. So a thread takes its turn:
it waits for it (`with engine.turn:`) where it can, and is refused (`in_turn`) where the calls of
two threads would mix.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from edge_fiqa.errors import EngineFailed

AFTER_FORK = (
    'start processes with multiprocessing.get_context("spawn"), and open one in each of them'
)
"""What to do instead. Opening one after the fork helps only where the library was not used before."""

Method = TypeVar("Method", bound=Callable[..., Any])


class Turn:
    """Held by one thread, which may take it again; ended by `end`; void in a forked child process.

    what: the object's name in messages. Raises EngineFailed where it cannot be had.
    """

    def __init__(self, what: str = "engine") -> None:
        self.what, self.ended = what, False
        self._lock, self._process = threading.RLock(), os.getpid()

    def __enter__(self) -> None:
        """Wait for the thread that has it."""
        self.check_process()  # before the lock, which nobody would release in a forked child
        self._lock.acquire()
        self._check_not_ended()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def take(self) -> None:
        """As `with`, but a turn that another thread has is an error."""
        self.check_process()
        if not self._lock.acquire(blocking=False):
            raise EngineFailed(
                f"another thread is using this {self.what}, and one would get the other's scores; "
                "share a Scorer, which serves one thread after another, or open one for each thread"
            )
        self._check_not_ended()

    def give_back(self) -> None:
        self._lock.release()

    def end(self) -> bool:
        """Nobody gets it any more, once its thread is done. Whether there is something to free:
        not the second time, and not in a forked child, whose copy is not its own."""
        if os.getpid() != self._process:
            return False
        with self._lock:
            first, self.ended = not self.ended, True
        return first

    def check_process(self) -> None:
        if os.getpid() != self._process:
            raise EngineFailed(
                f"this {self.what} was opened before a fork, and its threads do not exist in the "
                f"child process; {AFTER_FORK}"
            )

    def _check_not_ended(self) -> None:
        if self.ended:
            self._lock.release()
            raise EngineFailed(f"this {self.what} is closed; open another one")


def in_turn(method: Method) -> Method:
    """A method that one thread at a time may be in: a second one is refused, as `Turn.take` says."""

    @functools.wraps(method)
    def refusing(self: Any, *arguments: Any, **options: Any) -> Any:
        self.turn.take()
        try:
            return method(self, *arguments, **options)
        finally:
            self.turn.give_back()

    return cast(Method, refusing)
