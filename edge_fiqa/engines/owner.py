"""One thread that owns what may be touched by one thread only.

CUDA contexts are bound to the thread that made them current, and PyCUDA refuses objects of another
thread's context. An engine may be opened, used and closed on different threads, one after another:
all of its device work runs here.
"""

from __future__ import annotations

import queue
import threading
import traceback
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
        self._lock, self._stopped = threading.Lock(), False
        # A daemon: it must outlive the interpreter's join of threads, for atexit to free what it owns.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)` on the owner's thread: its result, or what it raised."""
        if threading.current_thread() is self._thread:
            return function(*arguments)
        future: Future[T] = Future()
        with self._lock:  # no call is queued after the one that ends the thread
            if self._stopped or not self._thread.is_alive():
                raise EngineFailed("this engine is closed")
            self._calls.put((future, lambda: function(*arguments)))
        return future.result()

    def stop(self) -> None:
        """Let queued calls finish, and end the thread. Safe to call twice."""
        with self._lock:
            self._stopped = True
            self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except BaseException as exc:
                _forget_frames(exc)
                future.set_exception(exc)
            del item, future, call


def _forget_frames(error: BaseException | None) -> None:
    """A caller may keep the exception: it must not hold device objects, to be freed elsewhere."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
