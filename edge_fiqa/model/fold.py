"""Exact algebra done once, in float64, so that it need not be done for every face.

In evaluation mode all that follows LayerNorm's normalisation is linear. The affine of the final norm
and every BatchNorm and Linear of `feature` and `head_qs` fold into one vector a and one scalar b:

    score = <a, xhat> + b,   xhat = (x - mean) / sqrt(var + 1e-5) per token.

For the crfiqa mode that turns 37.7 M multiply-adds and 151 MB a head into 73,728 and 288 KB.
A head that reads causes folds in the same way, and shares xhat with the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_fiqa.model.cause_heads import PREFIX, CauseHeads
from edge_fiqa.types import Array, Floats, VitConfig

BN_EPS = 2e-5


@dataclass(frozen=True)
class FoldedHead:
    """score = sum(a * xhat[:H]) + b, for the first H tokens. a: (H, D) float32."""

    a: Array
    b: float


def fold_head(arrays: Mapping[str, Array], config: VitConfig) -> FoldedHead:
    """Norm affine + feature + head_qs as one vector over the head's H tokens and one scalar."""
    row = _f64(arrays["head_qs.1.weight"])  # (1, D): walk backwards from the score to the tokens
    row, b = _through_batch_norm(arrays, "head_qs.0", row, np.zeros(1))
    if config.mode != "token":
        row, b = _through_batch_norm(arrays, "feature.3", row, b)
        row = row @ _f64(arrays["feature.2.weight"])
        row, b = _through_batch_norm(arrays, "feature.1", row, b)
        row = row @ _f64(arrays["feature.0.weight"])
    a = row.reshape(config.head_tokens, config.width)
    b = b + (a * _f64(arrays["norm.bias"])).sum()
    a = a * _f64(arrays["norm.weight"])
    return FoldedHead(a.astype(np.float32), float(b[0]))


@dataclass(frozen=True)
class FoldedCauses:
    """logits (N, D) = xhat[:, 0] @ a + b, of D causes. a: (W, D), W the width, b: (D,), float32."""

    a: Array
    b: Array


def fold_causes(heads: CauseHeads, arrays: Mapping[str, Array], exit: int) -> FoldedCauses:
    """Norm affine + the head that reads causes at this exit, as one matrix and one vector.

    arrays: of the network, whose final norm is used. exit: counted from 1.
    """
    weight = _f64(heads.arrays[f"{PREFIX}{exit - 1}.weight"])
    b = _f64(heads.arrays[f"{PREFIX}{exit - 1}.bias"]) + weight @ _f64(arrays["norm.bias"])
    a = (weight * _f64(arrays["norm.weight"])).T
    return FoldedCauses(np.ascontiguousarray(a, np.float32), b.astype(np.float32))


def _through_batch_norm(
    arrays: Mapping[str, Array], name: str, row: Floats, b: Floats
) -> tuple[Floats, Floats]:
    """<row, BN(v)> + b = <row', v> + b'."""
    weight, bias, mean, var = (
        _f64(arrays[f"{name}.{part}"]) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(var + BN_EPS)
    return row * scale, b + row @ (bias - mean * scale)


def fold_stem(arrays: Mapping[str, Array], config: VitConfig) -> tuple[Array, Array]:
    """Patch embedding of uint8 pixels p: tokens = (p - 128) @ w + c, normalisation folded in.

    The network reads p / 127.5 - 1 = ((p - 128) + 0.5) / 127.5. p - 128 is a whole number that
    float16, bfloat16 and int8 all hold exactly, so the first layer rounds weights only. Returns
    w (243, D) over a patch's pixels in (row, column, channel) order, and c (T, D): convolution
    bias, positions and the quality token together.
    """
    weight = _f64(arrays["patch_embed.proj.weight"])  # (D, 3, 9, 9)
    w = weight.transpose(2, 3, 1, 0).reshape(-1, config.width) / 127.5
    bias = _f64(arrays["patch_embed.proj.bias"]) + 0.5 * w.sum(0)
    c = _f64(arrays["pos_embed"])[0].copy()
    if config.has_quality_token:
        c[0] += _f64(arrays["qs_token"])[0, 0]
        c[1:] += bias
    else:
        c += bias
    return w.astype(np.float32), c.astype(np.float32)


def fold_norm(arrays: Mapping[str, Array], norm: str, layer: str) -> tuple[Array, Array]:
    """A LayerNorm's affine moved into the linear layer behind it: layer(norm(x)) = xhat @ w + b.

    Returns w (in, out) and b (out,); a layer without bias gets one.
    """
    weight = _f64(arrays[f"{layer}.weight"]).T
    bias = _f64(arrays[f"{norm}.bias"]) @ weight
    if f"{layer}.bias" in arrays:
        bias = bias + arrays[f"{layer}.bias"]
    weight = weight * _f64(arrays[f"{norm}.weight"])[:, None]
    return weight.astype(np.float32), bias.astype(np.float32)


def _f64(array: Array) -> Floats:
    return np.asarray(array, np.float64)
