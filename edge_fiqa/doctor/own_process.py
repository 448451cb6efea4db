"""A function in a process of its own, so that a library which dies or hangs ends only that one."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
PLANS_S = 3600.0  # for a process in which TensorRT may have to build plans


class Died(Exception):
    """The process gave no result. Its text says how it ended."""


class _Call(Generic[Result]):
    """What the child runs: it must be importable there."""

    def __init__(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def __call__(self, answers: Connection) -> None:
        answers.send(self.function(*self.arguments))


def in_own_process(
    function: Callable[..., Result], *arguments: Any, timeout_s: float = 600.0
) -> Result:
    """`function(*arguments)`, which a new process can import. Raises Died where no result comes."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_Call(function, arguments), args=(send,))
    child.start()
    send.close()
    try:
        if not receive.poll(timeout_s):
            raise Died(f"gave no answer within {timeout_s:.0f} s")
        result: Result = receive.recv()
        child.join(5)  # its answer is there; a library may still be cleaning up
    except EOFError:
        child.join()
        raise Died(_ending(child.exitcode)) from None
    finally:
        child.kill()  # does nothing where it has ended
        child.join()
        receive.close()
    return result


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGILL":
        return f"died of {name}: it uses instructions that this processor does not have"
    if name == "SIGKILL":
        return f"was killed ({name}), most likely for want of memory"
    return f"died of {name}"
