"""Token buffers on loan, for engines that do all their work on one stream of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from edge_fiqa.engines.base import Tokens
from edge_fiqa.errors import ConfigError

Memory = TypeVar("Memory")
"""A buffer as its device names it: an address or a tensor."""


class Lease(Generic[Memory]):
    """A buffer in use, free again when its last handle is gone. number: its place in the pool."""

    def __init__(self, number: int, memory: Memory, free: list[int]) -> None:
        self.number, self.memory, self.free = number, memory, free

    def __del__(self) -> None:
        # Any thread may drop the last handle: a list's append is all that happens, and is atomic.
        # Work that still reads the buffer is on the stream already, before any that will write it.
        self.free.append(self.number)


class TokenPool(Generic[Memory]):
    """Equal buffers for the tokens of the largest batch, made when first needed and then reused.

    The lowest free one is lent. So a repeated pass gets the same addresses, which its CUDA graphs hold.
    A pass needs two buffers, three where it compacts. Who keeps more handles gets more buffers.
    """

    def __init__(self, make: Callable[[], Memory]) -> None:
        self._make, self._made = make, list[Memory]()
        self._free: list[int] = []

    def lend(self) -> Lease[Memory]:
        if self._free:
            number = min(self._free)
            self._free.remove(number)
        else:
            number = len(self._made)
            self._made.append(self._make())
        return Lease(number, self._made[number], self._free)

    def lease_of(self, tokens: Tokens) -> Lease[Memory]:
        """What these tokens lie in. Raises ConfigError for tokens of another engine."""
        lease = tokens.buffer
        if not isinstance(lease, Lease) or lease.free is not self._free:
            raise ConfigError("these tokens are another engine's")
        return lease
