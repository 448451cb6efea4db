"""The network that CUDA runs: its numbers, its types, its device. On the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import edge_fiqa
from edge_fiqa.engines.torch_.network import DTYPES, GpuNetwork
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.weights import load_weights
from edge_fiqa.types import Segment
from tests.causes import logits_of, with_heads
from tests.engines.conftest import expected, segments_of

aten = torch.ops.aten
SHIPPED = Path(edge_fiqa.__file__).parent / "models"
ATOL = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 8e-2}  # as the contract's
SHIPPED_ATOL = {"fp32": 2e-6, "fp16": 1e-3, "bf16": 8e-3}


@pytest.mark.parametrize("name", ["nano", "small"])
def test_the_shipped_models_in_every_precision(name):
    """Bodies and tails at every exit against the reference, with the CPU's kernels for each type."""
    weights = load_weights(SHIPPED / f"{name}.safetensors")
    faces = synthetic_faces(3, seed=8)
    reference, depth = expected(weights, faces), weights.config.depth
    for precision, atol in SHIPPED_ATOL.items():
        network = GpuNetwork(weights, precision, lambda tensor: tensor, len(faces))
        x = torch.from_numpy(faces)
        with torch.inference_mode():
            for block in range(1, depth + 1):
                body, tail = torch.empty(2, 1, len(faces))
                tokens = torch.empty(len(faces), weights.config.tokens, weights.config.width)
                network.run(Segment(block, block), x, tokens, body)
                network.run(Segment(block, block, tail=True), x, None, tail)
                x = tokens
                for scores in (body, tail):
                    np.testing.assert_allclose(scores[0], reference[:, block - 1], atol=atol)
            whole = torch.empty(depth, len(faces))
            network.run(Segment(1, depth, tail=True), torch.from_numpy(faces), None, whole)
        np.testing.assert_allclose(whole.T, reference, atol=atol)


class Operators(TorchDispatchMode):
    """What was run: names, and the types of the tensors that went in."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        dtypes = {x.dtype for x in tree_flatten(args)[0] if isinstance(x, torch.Tensor)}
        self.seen.append((str(function).split(".")[1], dtypes))
        return function(*args, **(kwargs or {}))

    def of(self, name):
        return [dtypes for seen, dtypes in self.seen if seen == name]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_is_float32_in_half_precision(tiny, faces, precision):
    """The residual stream, norms and scores; only what enters products and attention is rounded."""
    dtype = DTYPES[precision]
    network = GpuNetwork(tiny, precision, lambda tensor: tensor, len(faces))
    tokens, scores = torch.zeros(2, 6, 145, 32), torch.zeros(2, 6)
    with torch.inference_mode(), Operators() as run:
        network.run(Segment(2, 3), tokens[0], tokens[1], scores)
    single = {torch.float32}
    assert run.of("linear") == [{dtype}] * 8  # qkv, proj, fc1, fc2
    assert run.of("scaled_dot_product_attention") == [{dtype}] * 2
    assert run.of("layer_norm") == [single] * 5
    assert run.of("addmv") == [single] * 2
    assert run.of("add") == [single | {dtype}] * 4
    assert run.of("to") == [single] * 4  # once before qkv and fc1 of each block, and nowhere else


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("network", ["tiny", "tiny_full"])
def test_causes_are_those_of_their_definition(request, network, faces, precision):
    weights = with_heads(request.getfixturevalue(network))
    gpu = GpuNetwork(weights, precision, lambda tensor: tensor, len(faces))
    reference, images = logits_of(weights, faces), torch.from_numpy(faces)
    shape = len(faces), weights.config.tokens, weights.config.width
    tails = (False, True) if weights.config.mode == "token" else (False,)
    for exit in range(1, weights.config.depth + 1):
        for tail in tails:
            tokens = None if tail else torch.empty(shape)
            scores, causes = torch.empty(exit, len(faces)), torch.empty(len(faces), 3)
            with torch.inference_mode(), Operators() as run:
                gpu.run(Segment(1, exit, tail), images, tokens, scores, causes)
            np.testing.assert_allclose(causes, reference[:, exit - 1], atol=ATOL[precision])
            assert run.of("addmm")[-1] == {torch.float32}


class ByOperators(TorchFunctionMode):
    """What Python's bindings do after switching to the tensor's device, which a CPU build lacks."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.__getitem__:
            return self.part(*args)
        if function is torch.Tensor.__setitem__:
            return aten.copy_.default(self.part(*args[:2]), args[2])
        if function in (torch.addmv, torch.addmm):
            product = getattr(aten, function.__name__).default
            return aten.copy_.default(kwargs["out"], product(*args))
        return function(*args, **(kwargs or {}))

    def part(self, x, index):
        index = index if isinstance(index, tuple) else (index,)
        if index[0] is ...:
            index = (slice(None),) * (x.ndim - len(index) + 1) + index[1:]
        for dim in reversed(range(len(index))):
            one = index[dim]
            if isinstance(one, slice):
                x = aten.slice.Tensor(x, dim, one.start, one.stop)
            else:
                x = aten.select.int(x, dim, one)
        return x


@pytest.mark.parametrize("name", ["tiny", "tiny_c", "tiny_causes"])
@pytest.mark.parametrize("precision", DTYPES)
def test_everything_the_network_touches_is_on_the_device(request, name, precision):
    """torch's fake tensors have a device and shapes but no values: mixing devices raises."""
    weights = request.getfixturevalue(name)
    config = weights.config

    def on_cuda(tensor):
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")

    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode(), ByOperators():
        network = GpuNetwork(weights, precision, on_cuda, 4)
        images = torch.empty(3, 112, 112, 3, dtype=torch.uint8, device="cuda")
        tokens = [torch.empty(3, config.tokens, config.width, device="cuda") for _ in range(2)]
        scores = torch.empty(config.depth, 3, device="cuda")
        causes = torch.empty(3, 3, device="cuda") if network.causes else None
        for segment in segments_of(weights):
            exits = scores[segment.exits]
            x = images if segment.first == 1 else tokens[0]
            network.run(segment, x, None if segment.tail else tokens[1], exits, causes)
        assert scores.device.type == "cuda"
        with pytest.raises(FakeTensorDeviceMismatchError):
            network.run(Segment(1, 1), images, torch.empty_like(tokens[0], device="cpu"), scores)
