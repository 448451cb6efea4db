"""torch on CUDA: one captured graph per segment and batch size, over buffers that never move.

Images go in and scores come out through pinned memory on one stream, and each segment is waited for
once. Batches are filled up to powers of two. It allocates nothing once a route has been run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import torch

from edge_fiqa.engines import MAX_BATCH
from edge_fiqa.engines.base import EngineBase, Outputs, Tokens
from edge_fiqa.engines.lease import TokenPool
from edge_fiqa.engines.torch_.device import GpuDevice, first_line
from edge_fiqa.engines.torch_.graphs import (
    CapturedSegment,
    Capturer,
    CauseBuffer,
    InputBuffer,
    ScoreBuffer,
)
from edge_fiqa.engines.torch_.network import GpuNetwork
from edge_fiqa.engines.turn import in_turn
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import IMAGE, Array, Bytes, Precision, Rows, Segment

POWERS_OF_TWO = tuple(1 << n for n in range(MAX_BATCH.bit_length()))


class TorchCuda(EngineBase):
    """graphs: replay segments as CUDA graphs, else enqueue them kernel by kernel.

    batches: the batch sizes that are computed, rising; others are filled up, and the last is the
    largest. Compaction follows them: between two sizes nothing is dropped.
    """

    backend = "pt"

    def __init__(
        self,
        weights: Weights,
        segments: Iterable[Segment],
        precision: Precision,
        device: GpuDevice,
        threads: int | None = None,
        *,
        graphs: bool = True,
        batches: Sequence[int] = POWERS_OF_TWO,
    ) -> None:
        super().__init__()
        self.config, self.segments = weights.config, frozenset(segments)
        if not batches or batches[0] < 1 or sorted(set(batches)) != list(batches):
            raise ConfigError(f"batches must rise, from 1 or more, got {batches}")
        self.max_batch, self.threads = batches[-1], threads or 1
        self.device = f"CUDA: {device.name}"
        self._device, self._batches = device, tuple(batches)
        self._capturer = Capturer(device, graphs)
        self._captured: dict[tuple[Segment, int], CapturedSegment] = {}
        tokens = (self.max_batch, self.config.tokens, self.config.width)
        try:
            with device.working():
                self._network = GpuNetwork(weights, precision, device.put, self.max_batch)
                self._pool = TokenPool(lambda: device.allocate(tokens, torch.float32))
                self._images = InputBuffer(device, (self.max_batch, IMAGE, IMAGE, 3), torch.uint8)
                self._rows = InputBuffer(device, (self.max_batch,), torch.int64)
                self._scores = ScoreBuffer(device, self.config.depth, self.max_batch)
                self.causes = self._network.causes
                self._logits = self._cause_buffer()
                device.synchronise()
        except RuntimeError as exc:
            raise self._failure(exc, "the model") from exc

    @in_turn
    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs:
        tokens = self.enqueue(segment, x)
        faces = x.faces if isinstance(x, Tokens) else len(x)
        return Outputs(tokens, *self._read(segment.first, segment.last, faces))

    @in_turn
    def enqueue(self, segment: Segment, x: Bytes | Tokens) -> Tokens | None:
        """As `run`, without waiting: the scores stay on the device until `scores` is called.

        Hold `turn` over both where threads share the engine.
        """
        faces = self.faces_in(segment, x)
        source = self._pool.lease_of(x) if isinstance(x, Tokens) else None
        try:
            with self._device.working():
                captured = self._captured_segment(segment, self.computed(faces))
                if not isinstance(x, Tokens):
                    self._images.fill(x)
                target = None if segment.tail else self._pool.lend()
                captured.enqueue(source, target)
        except RuntimeError as exc:
            raise self._failure(exc, f"{segment.name} with {faces} faces") from exc
        return None if target is None else Tokens(faces, segment.last, target)

    @in_turn
    def scores(self, first: int, last: int, faces: int) -> Array:
        """(N, last - first + 1): what the batch enqueued last scored at these exits. Waits for it.

        Of several segments only where all of them computed the same number of faces.
        """
        return self._read(first, last, faces)[0]

    @in_turn
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        rows = self.rows_in(tokens, rows)
        source = self._pool.lease_of(tokens).memory
        try:
            with self._device.working():
                kept = self._pool.lend()
                self._rows.fill(rows)
                index, target = self._rows.tensor[: len(rows)], kept.memory[: len(rows)]
                torch.index_select(source, 0, index, out=target)
        except RuntimeError as exc:
            raise self._failure(exc, f"keeping {len(rows)} of {tokens.faces} faces") from exc
        return Tokens(len(rows), tokens.block, kept)

    def computed(self, faces: int) -> int:
        return next(size for size in self._batches if size >= faces)

    @property
    def graphs(self) -> int:
        """How many graphs have been captured."""
        return sum(len(captured.graphs) for captured in self._captured.values())

    def close(self) -> None:
        if not self.turn.end():
            return
        with self._device.working():
            # A device that failed fails here again. Its memory is released all the same.
            with contextlib.suppress(RuntimeError):
                self._device.synchronise()
                for captured in self._captured.values():
                    captured.close()
            self._captured.clear()
            del self._network, self._pool, self._images, self._rows, self._scores
            del self._logits
            with contextlib.suppress(RuntimeError):
                self._device.release()

    def _read(self, first: int, last: int, faces: int) -> tuple[Array, Array | None]:
        """(N, last - first + 1) scores and (N, D) logits of the batch enqueued last. Waits for it."""
        batch = self.computed(faces)
        logits = None if self._logits is None else self._logits.part(batch)
        try:
            with self._device.working():
                output = self._scores.part(first, last, batch)
                output.fetch()
                if logits is not None:
                    logits.fetch()
                self._device.synchronise()
        except RuntimeError as exc:
            raise self._failure(exc, f"the scores of exits {first} to {last}") from exc
        causes = None if logits is None else logits.array[:faces].copy()
        return output.array[:, :faces].T.copy(), causes

    def _cause_buffer(self) -> CauseBuffer | None:
        if not self.causes:
            return None
        return CauseBuffer(self._device, len(self.causes), self.max_batch)

    def _captured_segment(self, segment: Segment, batch: int) -> CapturedSegment:
        if (segment, batch) not in self._captured:
            scores = self._scores.part(segment.first, segment.last, batch).tensor
            logits = None if self._logits is None else self._logits.part(batch).tensor
            self._captured[segment, batch] = CapturedSegment(
                segment, batch, self._network, self._images.tensor, scores, logits, self._capturer
            )
        return self._captured[segment, batch]

    def _failure(self, exc: RuntimeError, what: str) -> EngineFailed:
        if isinstance(exc, torch.cuda.OutOfMemoryError):
            free, total = self._device.memory_mb()
            return EngineFailed(
                f"no GPU memory left for {what} ({free} of {total} MiB free); use smaller batches, "
                "a bundle in fp16, or end other programs on this GPU"
            )
        return EngineFailed(f"torch failed in {what}: {first_line(exc)}")
