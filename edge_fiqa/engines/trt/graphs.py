"""CUDA graphs through the driver library: PyCUDA has none. Used on the thread that owns the context."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_int, c_uint, c_ulonglong, c_void_p
from typing import Any

from edge_fiqa.errors import EngineFailed

THREAD_LOCAL = 1  # calls of other threads (another engine's allocations) do not break a capture

# The exported names, whose suffixes the header hides. All are in every driver since CUDA 12.0.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphUpload": (c_void_p, c_void_p),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}


def load_driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


class CudaGraphs:
    """Captures what is enqueued on one stream, and replays it."""

    def __init__(self, stream: int, driver: Any = None) -> None:
        library = load_driver() if driver is None else driver
        self._stream = c_void_p(stream)
        self._calls = {}
        for name, types in PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, c_int
            self._calls[name] = function

    def capture(self, enqueue: Callable[[], bool]) -> c_void_p | None:
        """What `enqueue` enqueues, as a launchable graph; None where it cannot be captured.

        `enqueue` returns False where the library refuses. A capture is always ended, and what came
        of a refused one dropped, so that the stream is usable afterwards.
        """
        if self._status("cuStreamBeginCapture_v2", self._stream, THREAD_LOCAL):
            return None
        graph = c_void_p()
        try:
            enqueued = enqueue()
        finally:
            ended = self._status("cuStreamEndCapture", self._stream, byref(graph))
        if ended or not graph.value:
            return None
        executable = self._instantiate(graph) if enqueued else None
        self._status("cuGraphDestroy", graph)
        return executable

    def _instantiate(self, graph: c_void_p) -> c_void_p | None:
        executable = c_void_p()
        if self._status("cuGraphInstantiateWithFlags", byref(executable), graph, 0):
            return None
        self._status("cuGraphUpload", executable, self._stream)  # else the first launch does it
        return executable

    def launch(self, executable: c_void_p) -> None:
        if status := self._status("cuGraphLaunch", executable, self._stream):
            raise EngineFailed(f"a CUDA graph could not be launched (CUDA error {status})")

    def destroy(self, executable: c_void_p) -> None:
        self._status("cuGraphExecDestroy", executable)

    def _status(self, name: str, *arguments: Any) -> int:
        return int(self._calls[name](*arguments))


def driver_found() -> str | None:
    """Why there is no usable CUDA driver, or None if there is one. Safe on any machine."""
    try:
        driver = load_driver()
        driver.cuInit.argtypes, driver.cuInit.restype = (c_uint,), c_int
        status = driver.cuInit(0)
    except (OSError, AttributeError) as exc:
        return str(exc)
    return None if status == 0 else f"cuInit failed with CUDA error {status}"
