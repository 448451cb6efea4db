"""Where a ViT-FIQA looks: attention of every block over the 144 patches, in numpy, from the weights.

token and full mode: what the quality token attends to, mean over heads (EX-FIQA, figure 2). crfiqa
mode has no such token: mean over heads and over the patches that look. An engine cannot tell: its
graphs give scores only.
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

    A map sums to the share that patches get: 1 less what the quality token pays to itself.
    """
    return np.concatenate([_maps(weights, faces[row : row + 1]) for row in range(len(faces))])


def _maps(weights: Weights, faces: Bytes) -> Array:
    arrays, config = weights.arrays, weights.config
    n, d, heads = len(faces), config.width, config.heads
    stem, constant = fold_stem(arrays, config)
    cut = faces[:, : SIDE * PATCH, : SIDE * PATCH].astype(np.float32) - 128
    cut = cut.reshape(n, SIDE, PATCH, SIDE, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    x = np.zeros((n, config.tokens, d), np.float32)
    x[:, -PATCHES:] = cut.reshape(n, PATCHES, -1) @ stem
    x += constant
    out = np.empty((n, config.depth, SIDE, SIDE), np.float32)
    for index in range(config.depth):
        block = f"blocks.{index}"
        w, b = fold_norm(arrays, f"{block}.norm1", f"{block}.attn.qkv")
        qkv = (_normalised(x) @ w + b).reshape(n, -1, 3, heads, d // heads)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        attention = _softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(d // heads))
        rows = attention[:, :, :1] if config.has_quality_token else attention
        out[:, index] = rows.mean(axis=(1, 2))[:, -PATCHES:].reshape(n, SIDE, SIDE)
        mixed = (attention @ v).transpose(0, 2, 1, 3).reshape(n, -1, d)
        x = x + mixed @ arrays[f"{block}.attn.proj.weight"].T + arrays[f"{block}.attn.proj.bias"]
        w, b = fold_norm(arrays, f"{block}.norm2", f"{block}.mlp.fc1")
        hidden = np.clip(_normalised(x) @ w + b, 0, 6)
        x = x + hidden @ arrays[f"{block}.mlp.fc2.weight"].T + arrays[f"{block}.mlp.fc2.bias"]
    return out


def _normalised(x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + LN_EPS))


def _softmax(x: Array) -> Array:
    x = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(x / x.sum(-1, keepdims=True))
