"""INT8 segments: symmetric per-channel QDQ on the linear layers, ranges from calibration faces.

Only the inputs and weights of linear layers are rounded; their sums, attention products,
normalisations, the residual stream and the scores stay float. Zero points are 0 so that TensorRT
accepts the same file. Each layer has a pair for its input of its own: ONNX Runtime fuses only such.

Weights have 7 bits: processors without VNNI add two products of an unsigned and a signed byte in 16
bits and cut off what does not fit. 2 * 255 * 64 = 32,640 does, so every processor gets the same sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_fiqa.config import RangeMethod
from edge_fiqa.errors import ConfigError
from edge_fiqa.model.activation_ranges import (
    RangeMeter,
    ValueRanges,
    linear_layers,
    ranges_of_segments,
)
from edge_fiqa.model.equalise import equalise
from edge_fiqa.model.graph import PIXELS, segment_graph
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import Array, Bytes, Segment

LARGEST_WEIGHT: Final = 64
LARGEST_INPUT: Final = 127
PIXEL_SCALE: Final = np.float32(
    1
)  # centred pixels are whole numbers in [-128, 127]: nothing is lost
COLUMNS: Final = 1  # of a weight, one per output channel


def quantised_segments(
    weights: Weights,
    segments: Sequence[Segment],
    faces: Bytes,
    method: RangeMethod = "minmax",
    float_layers: Sequence[str] = (),
) -> Iterator[tuple[Segment, onnx.ModelProto]]:
    """INT8 graphs of `segments`, made one at a time; ranges are measured on `faces` (N, 112, 112, 3).

    Each segment is calibrated on the float tokens that really reach it. They come in the order of
    their first block, and within it as they were given. float_layers: see `quantise_segment`.
    """
    if not len(faces):
        raise ConfigError("INT8 needs calibration images: give --calibration-images DIR")
    images = [face[None] for face in faces]
    channels, ranges = ranges_of_segments(weights, segments, images, method)
    for segment in sorted(segments, key=lambda segment: segment.first):
        graph = equalise(segment_graph(weights, segment), channels)
        yield segment, quantised_graph(graph, ranges[segment], float_layers)


def quantise_segment(
    graph: onnx.ModelProto,
    inputs: Sequence[Array],
    method: RangeMethod = "minmax",
    float_layers: Sequence[str] = (),
) -> onnx.ModelProto:
    """QDQ version of one float32 segment; `inputs` are what it will be fed, batch 1 each.

    float_layers stay float32: whole blocks (`block1`) or layers (`block1/fc2`, `stem`).
    """
    ranges, _ = RangeMeter(graph, method).over(inputs)
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return quantised_graph(copy, ranges, float_layers)


def quantised_graph(
    graph: onnx.ModelProto, ranges: ValueRanges, float_layers: Sequence[str] = ()
) -> onnx.ModelProto:
    """One float32 segment changed in place, with the ranges of what its linear layers read."""
    linear = {node.name for node in _quantised_layers(graph, float_layers)}
    pairs = _Pairs(graph, ranges)
    nodes = []
    for node in graph.graph.node:
        if node.name in linear:
            nodes += pairs.in_front_of(node)
        nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _quantised_layers(graph: onnx.ModelProto, float_layers: Sequence[str]) -> list[onnx.NodeProto]:
    """The linear layers, but for those that stay float or stand in a block that does."""
    kept_float = set(float_layers)
    return [
        node
        for node in linear_layers(graph)
        if not kept_float & {node.name, node.name.split("/")[0]}
    ]


class _Pairs:
    """Makes the pairs of a graph's linear layers; their scales and weights become its constants."""

    def __init__(self, graph: onnx.ModelProto, ranges: ValueRanges) -> None:
        self._constants = graph.graph.initializer
        self._ranges = ranges
        self._scaled: set[str] = set()  # values that have a scale: several layers may read one

    def in_front_of(self, layer: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes that a layer needs before it; it is changed to read what they give."""
        x, weight = layer.input
        self._give_scale(x)
        rounded, kept = f"{layer.name}/rounded", f"{layer.name}/input"
        scale = [f"{x}_scale", f"{x}_zero_point"]
        widened = f"{weight}/wide"
        layer.input[:] = [kept, widened]
        return [
            helper.make_node("QuantizeLinear", [x, *scale], [rounded], rounded),
            helper.make_node("DequantizeLinear", [rounded, *scale], [kept], kept),
            helper.make_node(
                "DequantizeLinear", self._rounded_weight(weight), [widened], widened, axis=COLUMNS
            ),
        ]

    def _give_scale(self, value: str) -> None:
        if value not in self._scaled:
            self._scaled.add(value)
            low, high = self._ranges[value]
            scale = _scales(np.maximum(-low, high), LARGEST_INPUT)
            self._add(f"{value}_scale", PIXEL_SCALE if value == PIXELS else scale)
            self._add(f"{value}_zero_point", np.int8(0))

    def _rounded_weight(self, name: str) -> list[str]:
        """The constants that stand for a weight (in, out): its rounded values, scales, zeros."""
        index = next(i for i, tensor in enumerate(self._constants) if tensor.name == name)
        weight = numpy_helper.to_array(self._constants[index])
        scales = _scales(np.abs(weight).max(axis=0), LARGEST_WEIGHT)
        del self._constants[index]
        return [
            self._add(f"{name}_quantized", (weight / scales).round().astype(np.int8)),
            self._add(f"{name}_scale", scales),
            self._add(f"{name}_zero_point", np.zeros(scales.shape, np.int8)),
        ]

    def _add(self, name: str, value: np.generic | np.ndarray) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _scales(largest: Array, steps: int) -> Array:
    """float32: with them, `largest` (of absolute values) becomes `steps`; 1 where all is zero."""
    scales = (largest.astype(np.float64) / steps).astype(np.float32)
    return np.where(scales < np.finfo(np.float32).tiny, np.float32(1), scales)
