"""torch: the reference engine on the CPU. `open_torch` opens it, or the one in `cuda_engine`.

Both need a bundle that carries its float weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import MAX_BATCH
from edge_fiqa.engines.base import Engine, EngineBase, Outputs, Tokens
from edge_fiqa.engines.torch_.cuda_engine import TorchCuda
from edge_fiqa.engines.torch_.device import find_cuda
from edge_fiqa.engines.torch_.network import DTYPES
from edge_fiqa.engines.turn import in_turn
from edge_fiqa.errors import BundleError, ConfigError, EngineFailed, one_line
from edge_fiqa.model.cause_heads import PREFIX
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
    path = bundle.float_weights()
    weights = load_weights(path, bundle.config.heads)
    names = () if weights.causes is None else weights.causes.names
    if names != bundle.manifest.causes:
        raise BundleError(
            f"{path} reads the causes ({', '.join(names)}), the manifest names "
            f"({', '.join(bundle.manifest.causes)}); rebuild the bundle"
        )
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
        heads = weights.causes
        self.causes = () if heads is None else heads.names
        self._heads = {} if heads is None else _tensors(heads.arrays)

    @in_turn
    @torch.inference_mode()
    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs:
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
            causes = self._read_causes(tokens, segment.last) if self.causes else None
        except RuntimeError as exc:
            raise EngineFailed(f"torch failed in {segment.name}: {one_line(exc)}") from exc
        return Outputs(None if segment.tail else Tokens(faces, segment.last, tokens), out, causes)

    @in_turn
    @torch.inference_mode()
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        index = torch.from_numpy(self.rows_in(tokens, rows))
        return Tokens(len(rows), tokens.block, tokens.buffer.index_select(0, index))

    def _read_causes(self, tokens: torch.Tensor, exit: int) -> Array:
        """tokens: (N, T, W), or (N, 1, W) of a tail -> (N, D)."""
        weight, bias = (self._heads[f"{PREFIX}{exit - 1}.{part}"] for part in ("weight", "bias"))
        logits: Array = F.linear(self._vit.norm(tokens[:, 0]), weight, bias).numpy()
        return logits

    def _stem(self, images: Bytes) -> torch.Tensor:
        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        return self._vit.stem(x.float().div_(127.5).sub_(1)).float()


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
