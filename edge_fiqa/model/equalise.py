"""Channels of a layer's input made alike in range, so that one INT8 scale serves them all.

What a normalisation or the attention gives out is divided by a factor per channel, and the rows of the
weights that read it are multiplied by the same: exact algebra, as float32 shows. It moves outliers
from activations, which share one scale, into weights, which have a scale per output channel.
The factor is max|x|^a / max|w|^(1-a), as in SmoothQuant (arXiv:2211.10438).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_fiqa.types import Array, Floats

STRENGTH = 0.75  # a; measured, see docs/decisions/0033
WIDEST = 16.0  # factors stay in 1/16 to 16 times their mean
READERS = {"norm1": ("q", "k", "v"), "norm2": ("fc1",), "heads": ("proj",)}
"""What is divided in every block, and the layers that read it."""

ChannelRanges = dict[str, Array]
"""`block3/norm1` -> (D,) largest absolute value of each channel."""


def equalised_values(depth: int) -> list[str]:
    """The names of all values that are divided, in a network of `depth` blocks."""
    return [f"block{number}/{part}" for number in range(1, depth + 1) for part in READERS]


def expose(graph: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy of the graph that gives out these values as well."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(graph)
    for name in names:
        exposed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return exposed


def equalise(graph: onnx.ModelProto, ranges: ChannelRanges) -> onnx.ModelProto:
    """A float32 segment in place: the same scores, with channels that lie closer together.

    ranges: of the values that stand in it (`equalised_values`); others are left out. A body and a tail
    with the same ranges keep equal weights.
    """
    constants = _Constants(graph)
    nodes = {node.name: node for node in graph.graph.node}
    for value in (name for name in nodes if name in ranges):
        block, part = value.split("/")
        weights = [f"{block}/{layer}.weight" for layer in READERS[part]]
        factors = _factors(ranges[value], [constants[name] for name in weights])
        for name in weights:
            constants[name] = constants[name] * factors[:, None]
        if part == "heads":  # a mean of values: their layer gives them out divided
            for name in (f"{block}/v.weight", f"{block}/v.bias"):
                constants[name] = constants[name] / factors
        else:
            constants[f"{value}.scale"] = np.reciprocal(factors)
            nodes[value].input[1] = f"{value}.scale"
    return graph


def _factors(top: Array, weights: list[Array]) -> Array:
    """(D,) of geometric mean 1. A channel that is always zero counts as one of the smallest."""
    rows = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    factors = _positive(top) ** STRENGTH / _positive(rows) ** (1 - STRENGTH)
    factors = factors / np.exp(np.log(factors).mean())
    return np.clip(factors, 1 / WIDEST, WIDEST).astype(np.float32)


def _positive(values: Array) -> Floats:
    return np.maximum(values.astype(np.float64), max(float(values.max()), 1e-30) * 1e-6)


class _Constants:
    """The constants of a graph by name, as arrays."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._graph = graph.graph
        self._tensors = {tensor.name: tensor for tensor in graph.graph.initializer}

    def __getitem__(self, name: str) -> Array:
        return np.asarray(numpy_helper.to_array(self._tensors[name]))

    def __setitem__(self, name: str, value: Array) -> None:
        tensor = numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        if name not in self._tensors:
            self._graph.initializer.append(tensor)
            self._tensors[name] = self._graph.initializer[-1]
        else:
            self._tensors[name].CopyFrom(tensor)
