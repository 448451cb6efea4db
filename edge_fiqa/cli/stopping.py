"""A signal that ends a long command where nothing is lost: after the frame or the step in hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ASKING = ("SIGINT", "SIGTERM")
HANGUP = "SIGHUP"  # Windows has none


@contextmanager
def first_signal(*, hangup: bool = False) -> Iterator[Callable[[], int]]:
    """Ctrl-C and SIGTERM ask for an end; a second one ends the command at once, as without this.

    Yields a function that returns the number of the signal that asked, or 0.
    hangup: a terminal that closes asks too. It does so twice, by the shell and by the system, and never
    counts as the second one. What is ignored, as `nohup` sets SIGHUP, stays ignored.
    """
    received: list[int] = []
    before = _handlers((*ASKING, HANGUP) if hangup else ASKING)

    def note(number: int, _: Any) -> None:
        if received:
            return
        received.append(number)
        for each, handler in before.items():
            if signal.Signals(each).name != HANGUP:
                signal.signal(each, handler)

    for number in before:
        if not received:  # else a signal between the two calls has restored both
            signal.signal(number, note)
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handlers(names: tuple[str, ...]) -> dict[int, Any]:
    """Number -> handler of the signals that a process may answer; only its main thread can."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    unanswered = (signal.SIG_IGN, None)  # None: set by a library that is not Python
    return {number: each for number, each in handlers.items() if each not in unanswered}
