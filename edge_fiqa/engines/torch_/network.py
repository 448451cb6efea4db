"""The network as the GPU runs it: every weight folded and cast once, every output in a given buffer.

The algebra is that of the ONNX segments (`model/fold.py`): norm affines live in the layer behind
them, the head is one vector, pixels enter centred. Linear layers and attention run in the engine's
precision; the residual stream, the normalisations and the scores are float32. No autocast: its cache
of cast weights lives as long as its context, and a captured graph would hold addresses out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_fiqa.model.cause_heads import CauseHeads
from edge_fiqa.model.fold import fold_causes, fold_head, fold_norm, fold_stem
from edge_fiqa.model.vit import LN_EPS
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import IMAGE, PATCH, Array, Precision, Segment

DTYPES: Mapping[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
SIDE = IMAGE // PATCH
PATCH_PIXELS = PATCH * PATCH * 3
ALIGNED_PIXELS = -(-PATCH_PIXELS // 8) * 8
"""A row of pixels is padded with zeros: tensor cores take matrices whose rows are 16 bytes aligned."""

Put = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Linear:
    """weight: (out, in), bias: (out,), both in the engine's precision."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def rows(self, part: slice) -> Linear:
        return Linear(self.weight[part], self.bias[part])


@dataclass(frozen=True)
class BlockWeights:
    """q and kv are views of qkv: a tail takes them apart, a body does not."""

    qkv: Linear
    q: Linear
    kv: Linear
    proj: Linear
    fc1: Linear
    fc2: Linear


@dataclass(frozen=True)
class CauseHead:
    """logits = xhat @ a + b, float32 in every precision. a: (D, logits), b: (logits,)."""

    a: Tensor
    b: Tensor


class GpuNetwork:
    """put: moves a tensor to where the network runs; called once for each weight.

    Holds the pixels of `max_batch` faces, so two runs of one network must follow one another.
    """

    def __init__(self, weights: Weights, precision: Precision, put: Put, max_batch: int) -> None:
        self.config, self.dtype = weights.config, DTYPES[precision]
        self._put = put
        stem, positions = fold_stem(weights.arrays, self.config)
        padded = np.zeros((ALIGNED_PIXELS, self.config.width), np.float32)
        padded[:PATCH_PIXELS] = stem
        self._stem = put(_tensor(padded.T).to(self.dtype))
        self._positions = put(_tensor(positions))  # (T, D), with the convolution's bias in it
        head = fold_head(weights.arrays, self.config)
        self._head = put(_tensor(head.a.reshape(-1)))
        self._head_bias = put(torch.tensor([head.b]))
        self._blocks = [
            self._block(weights.arrays, f"blocks.{n}.") for n in range(self.config.depth)
        ]
        self.causes = () if weights.causes is None else weights.causes.names
        self._causes = [
            self._cause_head(weights.causes, weights.arrays, exit)
            for exit in range(1, self.config.depth + 1)
            if weights.causes is not None
        ]
        self._pixels = put(torch.zeros(max_batch, SIDE, SIDE, ALIGNED_PIXELS, dtype=self.dtype))

    def run(
        self,
        segment: Segment,
        x: Tensor,
        tokens_out: Tensor | None,
        scores: Tensor,
        causes: Tensor | None = None,
    ) -> None:
        """x: images (N, 112, 112, 3) uint8 for the first segment, else tokens (N, T, D) float32.

        Fills tokens_out (N, T, D), which is not x, unless the segment is a tail; scores (blocks, N);
        and, where it is given, causes (N, logits) with those behind the last block. Enqueues only:
        nothing waits, nothing depends on a value.
        """
        if segment.first == 1:
            x = self._embed(x)
        normal = _normalised(x)  # what norm1 of the next block and the head of this one both read
        for number in range(segment.first, segment.last + 1):
            last = number == segment.last
            block, tail = self._blocks[number - 1], last and segment.tail
            y = (x[:, :1] if tail else x) + block.proj(self._attend(normal, block, tail))
            hidden = block.fc1(_normalised(y).to(self.dtype)).clamp_(0, 6)
            x = torch.add(y, block.fc2(hidden), out=tokens_out if last else None)
            normal = _normalised(x[:, : self.config.head_tokens] if last else x)
            read = normal[:, : self.config.head_tokens].flatten(1)
            torch.addmv(self._head_bias, read, self._head, out=scores[number - segment.first])
        if causes is not None:
            head = self._causes[segment.last - 1]
            torch.addmm(head.b, normal[:, 0], head.a, out=causes)

    def _embed(self, images: Tensor) -> Tensor:
        """(N, 112, 112, 3) uint8 -> (N, T, D) float32. A product: cuDNN's would be a TF32 one."""
        n, used = len(images), images[:, : SIDE * PATCH, : SIDE * PATCH]
        patches = used.view(n, SIDE, PATCH, SIDE, PATCH, 3).permute(0, 1, 3, 2, 4, 5)
        pixels = self._pixels[:n]
        torch.sub(  # one kernel: cut into patches, centre (whole numbers, exact in any precision), cast
            patches,
            128.0,
            out=pixels[..., :PATCH_PIXELS].view(n, SIDE, SIDE, PATCH, PATCH, 3),
        )
        embedded = F.linear(pixels.flatten(1, 2), self._stem)
        if not self.config.has_quality_token:
            return embedded + self._positions
        x = self._positions.new_empty((n, *self._positions.shape))
        x[:, :1] = self._positions[:1]
        torch.add(embedded, self._positions[1:], out=x[:, 1:])
        return x

    def _attend(self, normal: Tensor, block: BlockWeights, tail: bool) -> Tensor:
        """(N, T, D) float32 -> the heads side by side, (N, T, D), or (N, 1, D) of a tail."""
        n, t, d = normal.shape
        x, heads = normal.to(self.dtype), self.config.heads
        if tail:
            q = block.q(x[:, :1]).view(n, 1, heads, -1).transpose(1, 2)
            k, v = block.kv(x).view(n, t, 2, heads, -1).permute(2, 0, 3, 1, 4)
        else:
            q, k, v = block.qkv(x).view(n, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(n, -1, d)

    def _block(self, arrays: Mapping[str, Array], key: str) -> BlockWeights:
        d = self.config.width
        qkv = self._linear(*fold_norm(arrays, key + "norm1", key + "attn.qkv"))
        return BlockWeights(
            qkv,
            qkv.rows(slice(0, d)),
            qkv.rows(slice(d, 3 * d)),
            self._linear(arrays[key + "attn.proj.weight"].T, arrays[key + "attn.proj.bias"]),
            self._linear(*fold_norm(arrays, key + "norm2", key + "mlp.fc1")),
            self._linear(arrays[key + "mlp.fc2.weight"].T, arrays[key + "mlp.fc2.bias"]),
        )

    def _cause_head(self, heads: CauseHeads, arrays: Mapping[str, Array], exit: int) -> CauseHead:
        folded = fold_causes(heads, arrays, exit)
        return CauseHead(self._put(_tensor(folded.a)), self._put(_tensor(folded.b)))

    def _linear(self, weight: Array, bias: Array) -> Linear:
        """weight: (in, out), as folding gives it."""
        return Linear(
            self._put(_tensor(weight.T).to(self.dtype)), self._put(_tensor(bias).to(self.dtype))
        )


def _normalised(x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + eps) of each token, float32."""
    return F.layer_norm(x, x.shape[-1:], eps=LN_EPS)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))
