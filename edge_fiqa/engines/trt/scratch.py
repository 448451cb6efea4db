"""One scratch block for all execution contexts of the TensorRT engine."""

from __future__ import annotations

from typing import Any

from edge_fiqa.engines.trt.device import CudaDevice
from edge_fiqa.errors import EngineFailed


class Scratch:
    """Activation memory shared by all contexts, which never run at the same time.

    generation: counts its moves, so that a holder of the address can see that it is out of date.
    """

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._block: Any = None
        self.size, self.address, self.generation = 0, 0, 0

    def ensure(self, size: int) -> None:
        """Room for `size` bytes. A larger block replaces the old one once that is idle."""
        if size < 0:
            raise EngineFailed(f"TensorRT asks for {size} bytes of activation memory")
        if size <= self.size:
            return
        self._device.synchronise()
        if self._block is not None:
            self._device.free(self._block)
        self._block = self._device.allocate(size)
        self.size, self.address = size, int(self._block)
        self.generation += 1
