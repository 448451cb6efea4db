"""Every implementation against scores of the reference implementation on seeded weights.

`scores_by_exit[k - 1][i]` is the raw score of image i after k blocks. The bar is 1e-3; all of ours
are three orders of magnitude closer, and the tests hold them to 1e-5.
"""

import hashlib
import json

import numpy as np
import onnxruntime
import pytest
import torch

from edge_fiqa.model.fold import fold_head
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.torch_model import load_vit
from edge_fiqa.model.weights import infer_config, verify
from edge_fiqa.types import Segment

CASES = ["token-512", "crfiqa-512", "full-512", "token-192", "crfiqa-64"]
BAR = 1e-5


def _weight(seed, key, shape):
    h = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "little")
    r = np.random.default_rng(h)
    if key.endswith("running_var"):
        return (0.5 + r.random(shape)).astype("f4")
    if key.endswith("num_batches_tracked"):
        return np.array(1, dtype="i8")
    if key.endswith("running_mean"):
        return (0.1 * r.standard_normal(shape)).astype("f4")
    if len(shape) == 1:
        offset = 1.0 if key.endswith("weight") else 0.0
        return (offset + 0.05 * r.standard_normal(shape)).astype("f4")
    if key in ("pos_embed", "qs_token", "mask_token"):
        return (0.2 * r.standard_normal(shape)).astype("f4")
    return (r.standard_normal(shape) / np.sqrt(max(int(np.prod(shape[1:])), 1))).astype("f4")


def _image(seed, i):
    r = np.random.default_rng(seed * 1000 + i)
    small = r.integers(0, 256, (14, 14, 3)).astype("f4")
    noisy = np.kron(small, np.ones((8, 8, 1))) + r.normal(0, 8, (112, 112, 3))
    return np.clip(np.rint(noisy), 0, 255).astype("u1")


@pytest.fixture(scope="module", params=CASES)
def case(request, parity):
    """(weights, images (4, 112, 112, 3), reference scores (4, E))."""
    mode, width = request.param.split("-")
    cases = json.loads((parity / "vitfiqa_scores.json").read_text(encoding="utf-8"))
    found = next(c for c in cases if (c["mode"], c["embed_dim"]) == (mode, int(width)))
    arrays = {k: _weight(found["seed"], k, tuple(s)) for k, s in found["keys"].items()}
    weights = verify(arrays, infer_config(arrays, found["num_heads"]), request.param)
    images = np.stack([_image(found["seed"], i) for i in range(4)])
    return weights, images, np.array(found["scores_by_exit"]).T


def _as_input(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_mode_depth_and_width_follow_from_the_keys(case, request):
    weights, _, scores = case
    assert f"{weights.config.mode}-{weights.config.width}" in request.node.name
    assert weights.config.depth == scores.shape[1]


@torch.inference_mode()
def test_torch_all_exits_in_one_pass(case):
    weights, images, scores = case
    np.testing.assert_allclose(load_vit(weights)(_as_input(images)).numpy(), scores, atol=BAR)


@torch.inference_mode()
def test_folded_heads_and_tails(case):
    weights, images, scores = case
    vit, head, config = load_vit(weights), fold_head(weights.arrays, weights.config), weights.config
    tokens = vit.stem(_as_input(images))
    for k, block in enumerate(vit.blocks):
        if config.mode == "token":
            np.testing.assert_allclose(vit.head(block.tail(tokens)), scores[:, k], atol=BAR)
        tokens = block(tokens)
        x = tokens[:, : config.head_tokens].double().numpy()
        xhat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        folded = (xhat * head.a).sum((1, 2)) + head.b
        np.testing.assert_allclose(folded, scores[:, k], atol=BAR)


def test_onnx_segments_bodies_and_tails(case):
    weights, images, scores = case
    x = images
    for k in range(1, weights.config.depth + 1):
        following = None
        for tail in (False, True) if weights.config.mode == "token" else (False,):
            graph = segment_graph(weights, Segment(k, k, tail))
            session = onnxruntime.InferenceSession(graph.SerializeToString())
            outputs = session.run(None, {session.get_inputs()[0].name: x})
            np.testing.assert_allclose(outputs[-1][:, 0], scores[:, k - 1], atol=BAR)
            following = following if tail else outputs[0]
        x = following
