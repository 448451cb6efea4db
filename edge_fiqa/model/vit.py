"""ViT-FIQA in torch: the reference numerics, with the official state-dict names.

Architecture facts: ViT-FIQA (arXiv:2508.13957), exits: EX-FIQA (arXiv:2604.22842). Pre-norm blocks,
qkv without bias, ReLU6 in the MLP, LayerNorm eps 1e-5, BatchNorm eps 2e-5, shared final norm and
quality head applied after any block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_fiqa.types import PATCH, VitConfig

LN_EPS, BN_EPS = 1e-5, 2e-5


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, *, first_token_only: bool = False) -> Tensor:
        """(N, T, D) -> (N, T, D), or (N, 1, D) when only the first token's output is wanted."""
        n, t, d = x.shape
        if first_token_only:
            w_q, w_kv = self.qkv.weight[:d], self.qkv.weight[d:]
            q = F.linear(x[:, :1], w_q).view(n, 1, self.heads, -1).transpose(1, 2)
            k, v = F.linear(x, w_kv).view(n, t, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        else:
            q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        learns = q.requires_grad and q.device.type == "cpu"
        out = _two_products(q, k, v) if learns else F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(n, -1, d))


def _two_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as its formula says. On processors the backward pass of torch's fused operator takes
    as long as all else of a training step together (benchmarks/training_step.py).

    In bfloat16 it also rounds the logits and the softmax, so its error is two to six times as large.
    """
    with torch.autocast(q.device.type, enabled=False):  # it would turn the softmax to float32
        q, k, v = (x.contiguous() for x in (q * q.shape[-1] ** -0.5, k, v))
        return (q @ k.transpose(-1, -2)).softmax(-1) @ v


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu6(self.fc1(x)))


class Block(nn.Module):
    """y = x + attn(norm1 x); x' = y + mlp(norm2 y)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LN_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LN_EPS)
        self.mlp = Mlp(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def tail(self, x: Tensor) -> Tensor:
        """The block's output for the quality token alone: (N, T, D) -> (N, 1, D). Exact."""
        y = x[:, :1] + self.attn(self.norm1(x), first_token_only=True)
        return y + self.mlp(self.norm2(y))


class PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


def feature_layers(tokens: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(tokens * width, width, bias=False),
        nn.BatchNorm1d(width, eps=BN_EPS),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width, eps=BN_EPS),
    )


class ViT(nn.Module):
    """A ViT-FIQA of any width and depth in one of its three modes.

    In token mode the `feature` layers of official checkpoints serve recognition only and are left
    out: no quality score depends on them.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        if config.has_quality_token:
            self.qs_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, d))
        self.patch_embed = PatchEmbed(d)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(d, eps=LN_EPS)
        if config.mode != "token":
            self.feature = feature_layers(config.tokens, d)
        self.head_qs = nn.Sequential(nn.BatchNorm1d(d, eps=BN_EPS), nn.Linear(d, 1, bias=False))

    def stem(self, images: Tensor) -> Tensor:
        """(N, 3, 112, 112) float RGB in [-1, 1] -> tokens (N, T, D)."""
        x = self.patch_embed(images)
        if self.config.has_quality_token:
            x = torch.cat((self.qs_token.expand(len(x), -1, -1), x), dim=1)
        return x + self.pos_embed

    def head(self, tokens: Tensor) -> Tensor:
        """Shared norm and quality head: tokens (N, T, D), or (N, 1, D) of a tail -> (N,)."""
        if self.config.mode == "token":
            x = self.norm(tokens[:, 0])
        else:
            x = self.feature(self.norm(tokens).flatten(1))
        return self.head_qs(x)[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """All exits in one pass: (N, 3, 112, 112) -> raw scores (N, E), exit k in column k-1."""
        x, scores = self.stem(images), []
        for block in self.blocks:
            x = block(x)
            scores.append(self.head(x))
        return torch.stack(scores, dim=1)
