"""Buffers for images and scores, and segments captured as CUDA graphs over fixed addresses."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_fiqa.engines.lease import Lease
from edge_fiqa.engines.torch_.device import GpuDevice, GpuGraph, first_line
from edge_fiqa.engines.torch_.network import GpuNetwork
from edge_fiqa.types import Segment

logger = logging.getLogger("edge_fiqa")

WARM_UP = 2
"""Plain runs before a capture: at first, libraries load kernels, which cannot be captured."""

MAX_GRAPHS = 16
"""Of one captured segment. A caller that keeps many tokens makes ever more pairs of buffers; beyond
this number of pairs, segments run kernel by kernel."""

Addresses = tuple[int, int]
"""Numbers of the token buffers that a run reads and writes; NONE where it has none."""
NONE = -1


class InputBuffer:
    """A buffer on the device that is filled through pinned memory."""

    def __init__(self, device: GpuDevice, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.tensor = device.allocate(shape, dtype)
        self._pinned = device.pinned(shape, dtype)
        self._array = self._pinned.numpy()
        self._sent = device.event()
        self._sent.record()

    def fill(self, values: npt.NDArray[np.generic]) -> None:
        """Enqueue the copy of `values` into the first rows."""
        self._sent.synchronize()  # the copy before this one has left the pinned memory
        rows = len(values)
        self._array[:rows] = values
        self.tensor[:rows].copy_(self._pinned[:rows], non_blocking=True)
        self._sent.record()


class OutputBuffer:
    """Scores (blocks, N) or logits (N, D) on the device, and pinned memory that they arrive in.

    array: that memory, valid once the stream was waited for.
    """

    def __init__(self, tensor: Tensor, pinned: Tensor) -> None:
        self.tensor, self._pinned, self.array = tensor, pinned, pinned.numpy()

    def fetch(self) -> None:
        """Enqueue the copy to the host."""
        self._pinned.copy_(self.tensor, non_blocking=True)


class ScoreBuffer:
    """The scores of a batch, exit by exit: those of consecutive exits lie side by side."""

    def __init__(self, device: GpuDevice, exits: int, max_batch: int) -> None:
        self._exits = exits
        self._tensor = device.allocate((exits * max_batch,), torch.float32)
        self._pinned = device.pinned((exits * max_batch,), torch.float32)
        self._parts: dict[tuple[int, int, int], OutputBuffer] = {}

    def part(self, first: int, last: int, batch: int) -> OutputBuffer:
        """Exits first..last of a batch of that size. Other sizes use the same memory."""
        key = (first, last, batch)
        if key not in self._parts:
            span = slice((first - 1) * batch, last * batch)
            shape = (last - first + 1, batch)
            self._parts[key] = OutputBuffer(
                self._tensor[span].view(shape), self._pinned[span].view(shape)
            )
        return self._parts[key]


class CauseBuffer:
    """The logits (N, D) of the batch whose segment ran last."""

    def __init__(self, device: GpuDevice, causes: int, max_batch: int) -> None:
        self._tensor = device.allocate((max_batch, causes), torch.float32)
        self._pinned = device.pinned((max_batch, causes), torch.float32)
        self._parts: dict[int, OutputBuffer] = {}

    def part(self, batch: int) -> OutputBuffer:
        """Of a batch of that size. Other sizes use the same memory."""
        if batch not in self._parts:
            self._parts[batch] = OutputBuffer(self._tensor[:batch], self._pinned[:batch])
        return self._parts[batch]


class Capturer:
    """Captures graphs. After one refusal it logs the reason and captures no more."""

    def __init__(self, device: GpuDevice, enabled: bool = True) -> None:
        self._device, self.enabled = device, enabled

    def capture(self, work: Callable[[], object], name: str) -> GpuGraph | None:
        try:
            return self._device.capture(work)
        except RuntimeError as exc:
            self.enabled = False
            logger.warning(
                "CUDA graphs are off, segments run kernel by kernel: %s cannot be captured: %s",
                name,
                first_line(exc),
            )
            return None


class CapturedSegment:
    """One segment at one batch size. scores: (blocks, batch) on the device, which it fills, and causes
    (batch, logits), where the network has heads for them.

    A graph holds addresses, so there is one graph for each pair of token buffers in use.
    """

    def __init__(
        self,
        segment: Segment,
        batch: int,
        network: GpuNetwork,
        images: Tensor,
        scores: Tensor,
        causes: Tensor | None,
        capturer: Capturer,
    ) -> None:
        self.segment, self.batch, self._network = segment, batch, network
        self._images, self._scores, self._causes = images[:batch], scores, causes
        self._capturer = capturer
        self.graphs: dict[Addresses, GpuGraph] = {}

    def enqueue(self, source: Lease[Tensor] | None, target: Lease[Tensor] | None) -> None:
        """source: the tokens to read, None for the images. target: where tokens go, None of a tail.

        The first run with new addresses is slow, and its scores are right.
        """
        addresses = (
            NONE if source is None else source.number,
            NONE if target is None else target.number,
        )
        graph = self.graphs.get(addresses)
        if graph is not None:
            graph.replay()
            return
        x = self._images if source is None else source.memory[: self.batch]
        tokens = None if target is None else target.memory[: self.batch]

        def work() -> None:
            self._network.run(self.segment, x, tokens, self._scores, self._causes)

        if not self._capturer.enabled or len(self.graphs) >= MAX_GRAPHS:
            work()
            return
        for _ in range(WARM_UP):
            work()
        graph = self._capturer.capture(work, f"{self.segment.name} at {self.batch} faces")
        if graph is not None:
            self.graphs[addresses] = graph

    def close(self) -> None:
        for graph in self.graphs.values():
            graph.reset()
        self.graphs.clear()
