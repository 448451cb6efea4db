"""One CUDA device through torch: a stream, memory, captures. What the engine needs of it, no more.

`GpuDevice` is the seam: what follows the stream here follows it on whatever stands in for a GPU.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from edge_fiqa.errors import BackendMissing

CAPTURING = threading.Lock()
"""torch allows one capture at a time in a process."""


class GpuGraph(Protocol):
    """Work captured once, on fixed addresses."""

    def replay(self) -> None: ...

    def reset(self) -> None: ...


class GpuEvent(Protocol):
    """A place on the stream that the host can wait for."""

    def record(self) -> None: ...

    def synchronize(self) -> None: ...


class GpuDevice(Protocol):
    """Work on its memory is enqueued on one stream, in order, and is done after `synchronise`.

    Everything is called within `working`, on one thread at a time. RuntimeErrors come out as torch
    raises them, torch.OutOfMemoryError among them.
    """

    name: str

    def working(self) -> AbstractContextManager[None]: ...

    def put(self, tensor: Tensor) -> Tensor:
        """A copy on the device."""
        ...

    def allocate(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Zeros on the device."""
        ...

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Zeros on the host, in memory that is copied to and from without waiting."""
        ...

    def event(self) -> GpuEvent: ...

    def capture(self, work: Callable[[], object]) -> GpuGraph:
        """What `work` enqueues, not executed. RuntimeError where it cannot be captured."""
        ...

    def synchronise(self) -> None: ...

    def memory_mb(self) -> tuple[int, int]:
        """MiB free, and in all."""
        ...

    def release(self) -> None:
        """Give unused memory back to the driver."""
        ...


class TorchGpu:
    """torch's current CUDA device. `GpuDevice` says what the methods do.

    Its stream is none that the default stream waits for. All graphs share one memory pool: they
    never run at the same time, and none leaves a tensor in it.
    """

    def __init__(self) -> None:
        self._index = torch.cuda.current_device()
        self.name = torch.cuda.get_device_name(self._index)
        self._place = torch.device("cuda", self._index)
        self._stream = torch.cuda.Stream(self._place)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            yield

    def put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._place)

    def allocate(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._place)

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def event(self) -> GpuEvent:
        return torch.cuda.Event()  # type: ignore[no-untyped-call]

    def capture(self, work: Callable[[], object]) -> GpuGraph:
        """Without `torch.cuda.graph`, whose entry waits for the whole device and empties torch's
        caches: other engines would stall at each of our captures, and lose what they keep there."""
        graph = torch.cuda.CUDAGraph()
        with CAPTURING:
            # Other threads may allocate meanwhile: only this one's mistakes end the capture.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                with contextlib.suppress(RuntimeError):
                    graph.capture_end()  # or the stream stays in capture
                raise
            graph.capture_end()
        return graph

    def synchronise(self) -> None:
        self._stream.synchronize()

    def memory_mb(self) -> tuple[int, int]:
        free, total = torch.cuda.mem_get_info(self._index)
        return free >> 20, total >> 20

    def release(self) -> None:
        with CAPTURING:  # torch's allocator fails an assertion if a capture is under way
            torch.cuda.empty_cache()


def find_cuda() -> GpuDevice | None:
    """None where torch has no CUDA or finds no device. BackendMissing where one is there and fails."""
    if not torch.cuda.is_available():
        return None
    try:
        return TorchGpu()
    except RuntimeError as exc:
        raise BackendMissing(
            f"backend 'pt' cannot use the CUDA device: {first_line(exc)}; "
            "with CUDA_VISIBLE_DEVICES= in the environment it runs on the CPU"
        ) from exc


def first_line(exc: RuntimeError) -> str:
    """What happened, without the paragraphs of advice that CUDA's errors carry."""
    return str(exc).partition("\n")[0]
