"""Device memory of the TensorRT engine: token buffers that are lent, and one scratch block for all."""

from __future__ import annotations

from typing import Any

from edge_fiqa.engines.trt_device import Device
from edge_fiqa.errors import EngineFailed


class Lease:
    """A token buffer in use. It goes back to its pool when the last handle to it is gone."""

    def __init__(self, pool: TokenPool, block: Any) -> None:
        self.pool, self._block = pool, block
        self.address = int(block)

    def __del__(self) -> None:
        # On whatever thread drops it: a list's append is all that happens. Work that still reads it
        # was enqueued on the one stream before any that will write it.
        self.pool.returned.append(self._block)


class TokenPool:
    """Equal buffers for the tokens of the largest batch, made when first needed and then reused.

    A pass ping-pongs between two of them, as the tokens before the last segment's are dropped; a
    caller that keeps more handles gets more buffers. The last one returned is lent first, so that a
    repeated pass meets the same addresses, which its CUDA graphs hold.
    """

    def __init__(self, device: Device, size: int) -> None:
        self._device, self._size = device, size
        self.returned: list[Any] = []

    def lend(self) -> Lease:
        block = self.returned.pop() if self.returned else self._device.allocate(self._size)
        return Lease(self, block)


class Scratch:
    """Activation memory shared by all contexts, which never run at the same time.

    generation counts its moves: whoever holds the address compares.
    """

    def __init__(self, device: Device) -> None:
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
