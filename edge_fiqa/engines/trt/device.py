"""The CUDA device through PyCUDA: context, stream, memory, events, and the gather kernel.

Everything here is made, used and freed on one thread (see `owner`). The context is the device's
primary one, which TensorRT and torch use as well.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pycuda.driver as drv

from edge_fiqa.engines.trt.graphs import driver_found
from edge_fiqa.errors import BackendMissing, EngineFailed
from edge_fiqa.types import Rows

DriverError: type[Exception] = drv.Error
ALIGNMENT = 256  # of every address that TensorRT is given
NON_BLOCKING = 1  # a stream that the legacy default stream does not wait for
THREADS = 256
KERNEL_ROWS = 64  # struct Rows in gather.cu


class CudaDevice:
    """The first CUDA device. Raises BackendMissing where there is none, before anything is made."""

    def __init__(self, index: int = 0, backend: str = "trt") -> None:
        if (reason := driver_found()) is not None:
            raise BackendMissing(f"backend {backend!r} needs an NVIDIA driver: {reason}")
        try:
            drv.init()
            if drv.Device.count() <= index:
                raise BackendMissing(
                    f"backend {backend!r} needs a CUDA device, and the driver has none"
                )
            device = drv.Device(index)
            self.name, self.sm = device.name(), ".".join(map(str, device.compute_capability()))
            version = drv.get_driver_version()
            self.cuda = f"{version // 1000}.{version % 1000 // 10}"
            self.integrated = bool(device.get_attribute(drv.device_attribute.INTEGRATED))
            self._context = device.retain_primary_context()
        except drv.Error as exc:
            raise BackendMissing(f"backend {backend!r} cannot use the CUDA device: {exc}") from exc
        self._blocks: list[Any] = []
        self._kernel: Any = None
        self._context.push()
        try:
            self.stream = drv.Stream(NON_BLOCKING)
            self.handle = int(self.stream.handle)
        except BaseException as exc:
            self._context.pop()  # PyCUDA ends the process where a thread ends with one in use
            self._context = None
            if not isinstance(exc, drv.Error):
                raise
            raise EngineFailed(f"the CUDA device gives no stream: {exc}") from exc

    def allocate(self, size: int) -> Any:
        """`size` zeroed bytes of device memory; `int(block)` is the address."""
        try:
            block = drv.mem_alloc(size)
        except drv.MemoryError as exc:
            free, total = drv.mem_get_info()
            raise EngineFailed(
                f"no {size >> 20} MiB of device memory left ({free >> 20} of {total >> 20} MiB "
                "free); use smaller batches"
            ) from exc
        if int(block) % ALIGNMENT:
            raise EngineFailed(f"device memory at {int(block):#x} is not aligned to {ALIGNMENT}")
        drv.memset_d8_async(int(block), 0, size, self.stream)
        self._blocks.append(block)
        return block

    def free(self, block: Any) -> None:
        """Free memory that nothing on the stream uses any more."""
        self._blocks.remove(block)
        block.free()

    def synchronise(self) -> None:
        try:
            self.stream.synchronize()
        except drv.Error as exc:
            raise EngineFailed(f"the device failed: {exc}") from exc

    def event(self) -> Any:
        return drv.Event()

    def gather(self, source: int, target: int, rows: Rows, row_bytes: int) -> None:
        """target[i] = source[rows[i]] on the device, enqueued. row_bytes: a multiple of 4."""
        if self._kernel is None:
            self._kernel = self._load_kernel()
        row_words = row_bytes // 4
        if self._kernel and len(rows) <= KERNEL_ROWS:
            grid = ((row_words + THREADS - 1) // THREADS, len(rows))
            packed = bytes(int(row) for row in rows).ljust(KERNEL_ROWS, b"\0")
            self._kernel.prepared_async_call(
                grid, (THREADS, 1, 1), self.stream, source, target, packed, row_words
            )
            return
        for index, row in enumerate(rows):
            to, start = target + index * row_bytes, source + int(row) * row_bytes
            drv.memcpy_dtod_async(to, start, row_bytes, self.stream)

    def _load_kernel(self) -> Any:
        """The prepared kernel; False where this driver does not take it (rows are copied then)."""
        text = (files("edge_fiqa.engines.trt") / "kernels" / "gather.ptx").read_bytes()
        try:
            module = drv.module_from_buffer(text + b"\0")  # the driver reads up to the zero
            kernel = module.get_function("gather_rows")
        except drv.Error:
            return False
        kernel.prepare(f"PP{KERNEL_ROWS}sI")
        return kernel

    def close(self) -> None:
        """Free everything, then leave the context, in that order. Also of a device that failed."""
        with suppress(drv.Error):
            self.stream.synchronize()
        for block in self._blocks:
            with suppress(drv.Error):
                block.free()
        self._blocks.clear()
        self._kernel = self.stream = None
        self._context.pop()
        self._context = None

    def __enter__(self) -> CudaDevice:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Staging:
    """Pinned host memory that the device reads or writes.

    On a Jetson, whose memory host and device share, it is mapped and nothing is copied; elsewhere it
    has a twin on the device. host: the array. address: what the device sees, aligned.
    """

    def __init__(self, device: CudaDevice, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._device, self._twin = device, None
        flags = drv.host_alloc_flags.DEVICEMAP if device.integrated else 0
        self.host = drv.pagelocked_empty(shape, dtype, mem_flags=flags)
        self.host[...] = 0
        if device.integrated:
            self.address = int(self.host.base.get_device_pointer())
        if not device.integrated or self.address % ALIGNMENT:
            self._twin = device.allocate(self.host.nbytes)
            self.address = int(self._twin)
        self._flat = self.host.reshape(-1)

    def upload(self, items: int) -> None:
        """Enqueue the copy of the first `items` elements to the device, where one is needed."""
        if self._twin is not None:
            drv.memcpy_htod_async(self.address, self._flat[:items], self._device.stream)

    def download(self, items: int) -> None:
        """Enqueue the copy of the first `items` elements to the host, where one is needed."""
        if self._twin is not None:
            drv.memcpy_dtoh_async(self._flat[:items], self.address, self._device.stream)

    def first(self, rows: int, columns: int) -> npt.NDArray[Any]:
        """(rows, columns) view of the first elements."""
        return np.asarray(self._flat[: rows * columns].reshape(rows, columns))
