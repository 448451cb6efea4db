"""Attention in numpy is that of the torch reference, seen where torch computes it."""

import numpy as np
import pytest
import torch

from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model import vit as module
from edge_fiqa.model.attention import attention_maps
from edge_fiqa.model.torch_model import load_vit


@pytest.mark.parametrize("name", ["tiny", "tiny_c", "tiny_full"])
def test_maps_are_what_torch_attends_to(name, request, monkeypatch):
    weights = request.getfixturevalue(name)
    faces, seen = synthetic_faces(2, seed=1), []

    def attend(q, k, v):
        attention = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1)
        seen.append(attention.numpy())
        return attention @ v

    monkeypatch.setattr(module.F, "scaled_dot_product_attention", attend)
    with torch.inference_mode():
        pixels = torch.from_numpy(faces.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        load_vit(weights)(pixels)
    maps = attention_maps(weights, faces)
    assert maps.shape == (2, weights.config.depth, 12, 12)
    for block, attention in enumerate(seen):
        if weights.config.mode == "crfiqa":
            expected, total = attention.mean(axis=(1, 2)), 1
        else:
            expected = attention[:, :, 0, 1:].mean(axis=1)
            total = 1 - attention[:, :, 0, 0].mean(axis=1)
        np.testing.assert_allclose(maps[:, block].reshape(2, 144), expected, atol=1e-6)
        np.testing.assert_allclose(maps[:, block].sum(axis=(1, 2)), total, atol=1e-5)


@pytest.mark.parametrize("first_token_only", [False, True])
def test_attention_that_learns_is_attention_that_scores(first_token_only):
    """Outputs and gradients, against torch's operator."""
    torch.manual_seed(0)
    layer, x = module.Attention(32, 4), torch.randn(3, 10, 32, requires_grad=True)
    layer.qkv.weight.data *= 6  # far from even shares
    learns = layer(x, first_token_only=first_token_only)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, first_token_only=first_token_only), learns)
    aim = torch.randn_like(learns)
    own = torch.autograd.grad((learns * aim).sum(), [x, *layer.parameters()])
    q, k, v = (torch.randn(2, 4, 10, 8, requires_grad=True) for _ in range(3))
    both = [
        torch.autograd.grad(attend(q, k, v).square().sum(), [q, k, v])
        for attend in (module._two_products, module.F.scaled_dot_product_attention)
    ]
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(gradient.abs().sum() > 0 for gradient in own)
