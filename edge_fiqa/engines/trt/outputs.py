"""Where segments leave scores and logits of causes, and where these arrive on the host."""

from __future__ import annotations

import numpy as np

from edge_fiqa.engines.trt.device import CudaDevice, Staging
from edge_fiqa.types import Array


class OutputStaging:
    """Serves every segment in turn. scores, causes: device addresses; None where none are read."""

    def __init__(self, device: CudaDevice, max_batch: int, exits: int, causes: int) -> None:
        self._scores = Staging(device, (max_batch, exits), np.float32)
        self._logits = Staging(device, (max_batch, causes), np.float32) if causes else None
        self._causes = causes
        self.scores = self._scores.address
        self.causes = None if self._logits is None else self._logits.address

    def download(self, batch: int, exits: int) -> None:
        """Enqueue the copy to the host of what a segment with so many exits left for a batch."""
        self._scores.download(batch * exits)
        if self._logits is not None:
            self._logits.download(batch * self._causes)

    def read(self, batch: int, exits: int, faces: int) -> tuple[Array, Array | None]:
        """(N, exits) scores and (N, causes) logits. Wait for the stream before."""
        scores: Array = self._scores.first(batch, exits)[:faces].copy()
        if self._logits is None:
            return scores, None
        return scores, self._logits.first(batch, self._causes)[:faces].copy()
