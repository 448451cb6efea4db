"""INT8 segments: symmetric per-channel QDQ on the linear layers, ranges from calibration faces.

onnxruntime's quantiser does the work. Only the inputs and weights of linear layers are rounded;
their sums, attention products, normalisations, the residual stream and the scores stay float.
Zero points are 0 so that TensorRT accepts the same file.

Weights have 7 bits: processors without VNNI add two products of an unsigned and a signed byte in 16
bits and cut off what does not fit. 2 * 255 * 64 = 32,640 does, so every processor gets the same sums.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator

from edge_fiqa.config import RangeMethod
from edge_fiqa.errors import ConfigError
from edge_fiqa.model.equalise import Ranges, equalise, equalised_values, expose
from edge_fiqa.model.graph import LINEAR_LAYERS, PIXELS, segment_graph
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import Bytes, Segment

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
}
ENTROPY_BINS = 1024
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
Overrides = dict[str, list[dict[str, np.ndarray]]]


def quantised_segments(
    weights: Weights,
    segments: Sequence[Segment],
    faces: Bytes,
    method: RangeMethod = "minmax",
    float_layers: Sequence[str] = (),
) -> Iterator[tuple[Segment, onnx.ModelProto]]:
    """INT8 graphs of `segments`, made one at a time; ranges are measured on `faces` (N, 112, 112, 3).

    Each segment is calibrated on the float tokens that really reach it. Bodies must chain from
    block 1; a tail starts where a body starts. float_layers: see `quantise_segment`.
    """
    if not len(faces):
        raise ConfigError("INT8 needs calibration images: give --calibration-images DIR")
    inputs: Sequence[np.ndarray] = [face[None] for face in faces]
    ranges = _channel_ranges(weights, inputs)
    first = 1
    while group := [segment for segment in segments if segment.first == first]:
        for segment in group:
            graph = equalise(segment_graph(weights, segment), ranges)
            yield segment, quantise_segment(graph, inputs, method, float_layers)
        bodies = [segment for segment in group if not segment.tail]
        if not bodies:
            return
        body = min(bodies, key=lambda segment: segment.last)
        inputs = _tokens_after(segment_graph(weights, body), inputs)
        first = body.last + 1


def _channel_ranges(weights: Weights, inputs: Sequence[np.ndarray]) -> Ranges:
    """The largest absolute value of each channel that `equalise` may divide, over all faces."""
    names = equalised_values(weights.config.depth)
    session = _session(expose(segment_graph(weights, Segment(1, weights.config.depth)), names))
    ranges: Ranges = {}
    for image in inputs:
        for name, value in zip(names, session.run(names, {"image": image}), strict=True):
            top = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            ranges[name] = np.maximum(ranges.get(name, top), top)
    return ranges


def _tokens_after(body: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The tokens that a float32 body passes on for each of its inputs."""
    session = _session(body)
    name = session.get_inputs()[0].name
    return [session.run(["tokens_out"], {name: x})[0] for x in inputs]


def quantise_segment(
    graph: onnx.ModelProto,
    inputs: Sequence[np.ndarray],
    method: RangeMethod = "minmax",
    float_layers: Sequence[str] = (),
) -> onnx.ModelProto:
    """QDQ version of one float32 segment; `inputs` are what it will be fed, batch 1 each.

    float_layers stay float32: whole blocks (`block1`) or layers (`block1/fc2`, `stem`).
    """
    linear = _quantised_layers(graph, float_layers)
    if not linear:  # the quantiser takes an empty list for all, attention products too
        return graph
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, str(source))
        overrides = _exact_pixels(graph)
        if method == "entropy":
            overrides = _entropy_ranges(graph, source, linear, inputs) | overrides
        quantize_static(
            str(source),
            str(target),
            _Reader(graph.graph.input[0].name, inputs),
            quant_format=QuantFormat.QDQ,
            calibrate_method=METHODS.get(method, CalibrationMethod.MinMax),
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # of weights only
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=linear,
            extra_options={**QDQ_OPTIONS, "TensorQuantOverrides": overrides},
        )
        model = onnx.load(str(target))
    onnx.checker.check_model(model, full_check=True)
    return model


def _quantised_layers(graph: onnx.ModelProto, float_layers: Sequence[str]) -> list[str]:
    """Names of the linear layers, but for those that stay float or stand in a block that does."""
    kept_float = set(float_layers)
    return [
        node.name
        for node in graph.graph.node
        if node.op_type == "MatMul"
        and _is_linear(node.name)
        and not kept_float & {node.name, node.name.split("/")[0]}
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Histogram methods print what they count, and the quantiser's advice goes to the root logger."""

    def is_other(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "onnxruntime" not in Path(record.pathname).parts

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(is_other)


def _is_linear(name: str) -> bool:
    return name.rsplit("/", 1)[-1] in LINEAR_LAYERS


def _entropy_ranges(
    graph: onnx.ModelProto, source: Path, linear: Sequence[str], inputs: Sequence[np.ndarray]
) -> Overrides:
    """Ranges of least Kullback-Leibler divergence for the inputs of these layers.

    `quantize_static` uses 128 bins, as many as INT8 has steps on one side, so its only candidate is
    the whole range. With more bins than steps there is a choice.
    """
    calibrater = create_calibrator(
        source,
        ["MatMul"],
        str(source.with_suffix(".augmented.onnx")),
        CalibrationMethod.Entropy,
        extra_options={"num_bins": ENTROPY_BINS, "symmetric": True},
    )
    calibrater.set_execution_providers(["CPUExecutionProvider"])
    calibrater.collect_data(_Reader(graph.graph.input[0].name, inputs))
    ranges = calibrater.compute_data().data
    inputs_of_layers = {node.input[0] for node in graph.graph.node if node.name in linear}
    return {
        name: [{"rmin": ranges[name].range_value[0], "rmax": ranges[name].range_value[1]}]
        for name in inputs_of_layers & set(ranges)
    }


def _exact_pixels(graph: onnx.ModelProto) -> Overrides:
    """Centred pixels are whole numbers in [-128, 127]: scale 1 loses nothing."""
    if not any(PIXELS in node.output for node in graph.graph.node):
        return {}
    return {PIXELS: [{"scale": np.array(1, np.float32), "zero_point": np.array(0, np.int8)}]}


def _session(graph: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, inputs: Sequence[np.ndarray]) -> None:
        self.rows = iter([{name: x} for x in inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rows, None)
