"""Attention maps: how much each block of a ViT-FIQA attends to each of the 144 patches, in numpy.

token and full mode: attention of the quality token, mean over heads (EX-FIQA, figure 2). crfiqa mode
has no such token: mean over heads and over all patches as queries. Computed from the weights, since
the graphs of an engine give scores only.
"""

from __future__ import annotations

import numpy as np

from edge_fiqa.model.fold import fold_norm, fold_stem
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import PATCH, PATCHES, Array, Bytes

LN_EPS = 1e-5
SIDE = int(PATCHES**0.5)  # 12


def attention_maps(weights: Weights, faces: Bytes) -> Array:
    """(N, 112, 112, 3) uint8 RGB -> (N, E, 12, 12): column k-1 is what block k attends to.

    A map sums to the attention that all patches get: 1 less that which the quality token gets.
    """
    return np.concatenate([_maps(weights, faces[row : row + 1]) for row in range(len(faces))])


def _maps(weights: Weights, faces: Bytes) -> Array:
    config = weights.config
    x = _embedded(weights, faces)
    maps = np.empty((len(faces), config.depth, SIDE, SIDE), np.float32)
    for index in range(config.depth):
        block = f"blocks.{index}"
        attention, values = _attention(weights, block, x)
        rows = attention[:, :, :1] if config.has_quality_token else attention
        maps[:, index] = rows.mean(axis=(1, 2))[:, -PATCHES:].reshape(-1, SIDE, SIDE)
        x = _after_block(weights, block, x, attention @ values)
    return maps


def _embedded(weights: Weights, faces: Bytes) -> Array:
    """(N, T, D): the tokens that enter the first block."""
    n, config = len(faces), weights.config
    stem, constant = fold_stem(weights.arrays, config)
    pixels = faces[:, : SIDE * PATCH, : SIDE * PATCH].astype(np.float32) - 128
    patches = pixels.reshape(n, SIDE, PATCH, SIDE, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    x = np.zeros((n, config.tokens, config.width), np.float32)
    x[:, -PATCHES:] = patches.reshape(n, PATCHES, -1) @ stem
    return x + constant


def _attention(weights: Weights, block: str, x: Array) -> tuple[Array, Array]:
    """Attention (N, heads, T, T), whose rows sum to 1, and values (N, heads, T, D / heads)."""
    heads, size = weights.config.heads, weights.config.width // weights.config.heads
    w, b = fold_norm(weights.arrays, f"{block}.norm1", f"{block}.attn.qkv")
    qkv = (_normalised(x) @ w + b).reshape(len(x), -1, 3, heads, size)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    return _softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(size)), v


def _after_block(weights: Weights, block: str, x: Array, mixed: Array) -> Array:
    """(N, T, D) -> (N, T, D). mixed: (N, heads, T, D / heads), what the block's attention gave."""
    arrays = weights.arrays
    mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    x = x + mixed @ arrays[f"{block}.attn.proj.weight"].T + arrays[f"{block}.attn.proj.bias"]
    w, b = fold_norm(arrays, f"{block}.norm2", f"{block}.mlp.fc1")
    hidden = np.clip(_normalised(x) @ w + b, 0, 6)
    return x + hidden @ arrays[f"{block}.mlp.fc2.weight"].T + arrays[f"{block}.mlp.fc2.bias"]


def _normalised(x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + LN_EPS))


def _softmax(x: Array) -> Array:
    x = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(x / x.sum(-1, keepdims=True))
