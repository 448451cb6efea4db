"""A verified checkpoint as a torch module."""

from __future__ import annotations

import torch

from edge_fiqa.model.vit import ViT
from edge_fiqa.model.weights import Weights


def load_vit(weights: Weights) -> ViT:
    """The float32 reference network of these weights, in evaluation mode."""
    vit = ViT(weights.config)
    state = {key: torch.from_numpy(value) for key, value in weights.arrays.items()}
    missing, unexpected = vit.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise AssertionError(f"verified weights do not fit the network: {missing} {unexpected}")
    return vit.eval()
