"""One thread that owns what may be touched by one thread only.

CUDA contexts are bound to the thread that made them current, and PyCUDA refuses objects of another
thread's context. An engine may be opened, used and closed on different threads, one after another:
all of its device work runs here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from edge_fiqa.errors import EngineFailed

T = TypeVar("T")


class Owner:
    """Runs calls one after another on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        # A daemon: it must outlive the interpreter's join of threads, for atexit to free what it owns.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)` on the owner's thread: its result, or what it raised."""
        if threading.current_thread() is self._thread:
            return function(*arguments)
        if not self._thread.is_alive():
            raise EngineFailed("this engine is closed")
        future: Future[T] = Future()
        self._calls.put((future, lambda: function(*arguments)))
        return future.result()

    def stop(self) -> None:
        """Let queued calls finish, and end the thread. Safe to call twice."""
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except BaseException as exc:
                future.set_exception(exc)
            # A kept exception would keep its frames, and with them device memory.
            del item, future, call
