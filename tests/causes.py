"""Heads of causes for the tests' networks, and the logits that they read by definition."""

from dataclasses import replace

import numpy as np
from safetensors.numpy import save_file

from edge_fiqa.model.cause_heads import CauseHeads, metadata_of
from edge_fiqa.reasons.limits import CauseLimits

NAMES = ("yaw", "motion_blur", "noise")


HEADS = "0" * 64
"""SHA-256 of heads that do not exist."""


def limits_of(names, exits, rows, heads=HEADS):
    """Causes are reported above these rows, are usual one below, and have a spread of one."""
    usual = tuple(None if row is None else tuple(limit - 1 for limit in row) for row in rows)
    return CauseLimits(
        names=names,
        heads=heads,
        exits=exits,
        usual=usual,
        spread=tuple(None if row is None else (1.0,) * len(row) for row in rows),
        limits=rows,
        false_alarm=0.05,
        faces=400,
        least_score=0.5,
    )


def with_heads(weights):
    """The same network, with seeded heads of their own at every exit."""
    rng = np.random.default_rng(5)
    width, arrays = weights.config.width, {}
    for index in range(weights.config.depth):
        weight = rng.standard_normal((len(NAMES), width)) / np.sqrt(width)
        arrays[f"causes.{index}.weight"] = weight.astype(np.float32)
        arrays[f"causes.{index}.bias"] = rng.standard_normal(len(NAMES)).astype(np.float32)
    return replace(weights, causes=CauseHeads(NAMES, arrays))


def logits_of(weights, faces):
    """(N, E, D): the final norm of the quality token behind each block, and that exit's layer."""
    import torch
    from torch.nn.functional import linear

    from edge_fiqa.model.torch_model import load_vit

    vit, rows = load_vit(weights), []
    heads = {name: torch.from_numpy(array) for name, array in weights.causes.arrays.items()}
    with torch.inference_mode():
        x = vit.stem(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1)
        for index, block in enumerate(vit.blocks):
            x = block(x)
            weight, bias = heads[f"causes.{index}.weight"], heads[f"causes.{index}.bias"]
            rows.append(linear(vit.norm(x)[:, 0], weight, bias))
    return torch.stack(rows, 1).numpy()


def write(weights, path):
    """As `edge-fiqa train` writes them."""
    stated = {
        "heads": str(weights.config.heads),
        **metadata_of(weights.causes.names, weights.causes.right),
    }
    save_file({**weights.arrays, **weights.causes.arrays}, str(path), stated)
    return path
