"""torch: the reference engine on the CPU. `open_torch` opens it, or the one in `cuda_engine`.

Both need a bundle that carries its float weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import MAX_BATCH
from edge_fiqa.engines.base import Engine, EngineBase, Tokens
from edge_fiqa.engines.torch_.cuda_engine import TorchCuda
from edge_fiqa.engines.torch_.device import find_cuda
from edge_fiqa.engines.torch_.network import DTYPES
from edge_fiqa.engines.turn import in_turn
from edge_fiqa.errors import ConfigError, EngineFailed, one_line
from edge_fiqa.model.torch_model import load_vit
from edge_fiqa.model.vit import Block
from edge_fiqa.model.weights import Weights, load_weights
from edge_fiqa.types import Array, Bytes, Precision, Rows, Segment


def open_torch(bundle: Bundle, threads: int | None = None) -> Engine:
    """On CUDA where torch finds a device, else on the CPU."""
    precision = bundle.manifest.precision
    if precision not in DTYPES:
        raise ConfigError(
            f"the torch engine runs fp32, bf16 and fp16, not {precision}; "
            "use --backend ov or --backend ort for this bundle"
        )
    weights = load_weights(bundle.float_weights(), bundle.config.heads)
    device = find_cuda()
    if device is None:
        return Torch(weights, bundle.segments, precision, threads)
    return TorchCuda(weights, bundle.segments, precision, device, threads)


class Torch(EngineBase):
    """The reference: the network as it is written, eagerly."""

    backend, device = "pt", "cpu"

    def __init__(
        self,
        weights: Weights,
        segments: Iterable[Segment],
        precision: Precision,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.config, self.segments = weights.config, frozenset(segments)
        self.max_batch = MAX_BATCH
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self._dtype = DTYPES[precision]
        self._vit = load_vit(weights).requires_grad_(False)

    @in_turn
    @torch.inference_mode()
    def run(self, segment: Segment, x: Bytes | Tokens) -> tuple[Tokens | None, Array]:
        faces = self.faces_in(segment, x)
        half = self._dtype is not torch.float32
        try:
            with torch.autocast(self.device, self._dtype if half else None, enabled=half):
                tokens = x.buffer if isinstance(x, Tokens) else self._stem(x)
                scores = []
                for number in range(segment.first, segment.last + 1):
                    block = cast(Block, self._vit.blocks[number - 1])
                    last = segment.tail and number == segment.last
                    tokens = (block.tail(tokens) if last else block(tokens)).float()
                    with torch.autocast(self.device, enabled=False):
                        scores.append(self._vit.head(tokens))
            out = torch.stack(scores, 1).numpy()
        except RuntimeError as exc:
            raise EngineFailed(f"torch failed in {segment.name}: {one_line(exc)}") from exc
        return (None if segment.tail else Tokens(faces, segment.last, tokens)), out

    @in_turn
    @torch.inference_mode()
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        index = torch.from_numpy(self.rows_in(tokens, rows))
        return Tokens(len(rows), tokens.block, tokens.buffer.index_select(0, index))

    def _stem(self, images: Bytes) -> torch.Tensor:
        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        return self._vit.stem(x.float().div_(127.5).sub_(1)).float()
