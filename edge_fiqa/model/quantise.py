"""INT8 segments: symmetric per-channel QDQ on the linear layers, ranges from calibration faces.

onnxruntime's quantiser does the work. Only the inputs and weights of linear layers are rounded;
their sums, attention products, normalisations, the residual stream and the scores stay float.
Zero points are 0 so that TensorRT accepts the same file.

Weights have 7 bits: processors without VNNI add two products of an unsigned and a signed byte in 16
bits and cut off what does not fit. 2 * 255 * 64 = 32,640 does, so every processor gets the same sums.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from edge_fiqa.config import RangeMethod
from edge_fiqa.errors import ConfigError
from edge_fiqa.model.activation_ranges import (
    RangeMeter,
    ValueRanges,
    linear_layers,
    quiet,
    ranges_of_segments,
)
from edge_fiqa.model.equalise import equalise
from edge_fiqa.model.graph import PIXELS, segment_graph
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import Array, Bytes, Segment

LARGEST_WEIGHT = 64  # of an INT8 weight; reduce_range makes it so
QDQ_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    # Sums of products stay float: rounding them is half of the error, and takes time.
    "OpTypesToExcludeOutputQuantization": ["MatMul"],
    # q, k and v each quantise their common input: ONNX Runtime fuses only such pairs.
    "DedicatedQDQPair": True,
}


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
    return quantised_graph(graph, ranges, float_layers)


def quantised_graph(
    graph: onnx.ModelProto, ranges: ValueRanges, float_layers: Sequence[str] = ()
) -> onnx.ModelProto:
    """QDQ version of one float32 segment, with the ranges of what its linear layers read."""
    linear = _quantised_layers(graph, float_layers)
    if not linear:  # the quantiser takes an empty list for all, attention products too
        return graph
    used = {node.input[0] for node in linear}
    with tempfile.TemporaryDirectory() as folder, quiet():
        source = Path(folder) / "float.onnx"
        onnx.save(graph, str(source))
        quantizer = QDQQuantizer(
            load_model_with_shape_infer(source),
            per_channel=True,
            reduce_range=True,  # of weights only
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=TensorsData(
                CalibrationMethod.MinMax, {name: ranges[name] for name in used} | _softmaxes(graph)
            ),
            nodes_to_quantize=[node.name for node in linear],
            nodes_to_exclude=[],
            op_types_to_quantize=["MatMul"],
            extra_options={**QDQ_OPTIONS, "TensorQuantOverrides": _exact_pixels(used)},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    model = quantizer.model.model
    onnx.checker.check_model(model, full_check=True)
    return model


def _softmaxes(graph: onnx.ModelProto) -> ValueRanges:
    """onnxruntime 1.20 sets these itself, and only where they are there; none is rounded."""
    share = np.float32(0), np.float32(1)
    return {node.output[0]: share for node in graph.graph.node if node.op_type == "Softmax"}


def _quantised_layers(graph: onnx.ModelProto, float_layers: Sequence[str]) -> list[onnx.NodeProto]:
    """The linear layers, but for those that stay float or stand in a block that does."""
    kept_float = set(float_layers)
    return [
        node
        for node in linear_layers(graph)
        if not kept_float & {node.name, node.name.split("/")[0]}
    ]


def _exact_pixels(used: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Centred pixels are whole numbers in [-128, 127]: scale 1 loses nothing."""
    if PIXELS not in used:
        return {}
    return {PIXELS: [{"scale": np.array(1, np.float32), "zero_point": np.array(0, np.int8)}]}
