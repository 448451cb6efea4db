"""torch: the reference engine, on CPU or CUDA. Needs a bundle that carries its float weights."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from edge_fiqa.bundle import Bundle
from edge_fiqa.engines import MAX_BATCH
from edge_fiqa.engines.base import EngineBase, Rows, Tokens
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.model.build_torch import load_vit
from edge_fiqa.model.vit import Block
from edge_fiqa.model.weights import load_weights
from edge_fiqa.types import Array, Bytes, Segment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Torch(EngineBase):
    backend = "pt"

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        if bundle.manifest.precision not in DTYPES:
            raise ConfigError(
                f"the torch engine runs fp32, bf16 and fp16, not {bundle.manifest.precision}; "
                "use --backend ov or --backend ort for this bundle"
            )
        self.config, self.max_batch = bundle.config, MAX_BATCH
        self.segments = frozenset(bundle.segments)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self._dtype = DTYPES[bundle.manifest.precision]
        weights = load_weights(bundle.float_weights(), bundle.config.heads)
        self._vit = load_vit(weights).to(self.device).eval().requires_grad_(False)

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
            out = torch.stack(scores, 1).cpu().numpy()
        except RuntimeError as exc:
            raise EngineFailed(f"torch failed in {segment.name}: {exc}") from exc
        return (None if segment.tail else Tokens(faces, segment.last, tokens)), out

    @torch.inference_mode()
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        index = torch.from_numpy(np.asarray(rows)).to(self.device)
        return Tokens(len(rows), tokens.block, tokens.buffer.index_select(0, index))

    def _stem(self, images: Bytes) -> torch.Tensor:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2)
        return self._vit.stem(x.float().div_(127.5).sub_(1)).float()
