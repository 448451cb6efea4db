"""The ranges of what linear layers read, measured on faces: INT8 scales are made of them.

A segment's values are those of its blocks, on the tokens that it gets. Segments that start at the same
block get the same ones, so a walk along the blocks, one at a time, measures them for all of them:
each block is computed once for every block at which a segment starts before it, not once for every
segment that holds it.
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
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from edge_fiqa.config import RangeMethod
from edge_fiqa.model.equalise import READERS, ChannelRanges, equalise, expose
from edge_fiqa.model.graph import LINEAR_LAYERS, segment_graph
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import Array, Segment

ENTROPY_BINS = 1024
"""onnxruntime's 128 are as many as INT8 has steps on one side, so that the only candidate for a range
of least divergence would be the whole. With more bins than steps there is a choice."""

HISTOGRAMS = {
    "percentile": (CalibrationMethod.Percentile, {}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": ENTROPY_BINS, "symmetric": True}),
}
"""Methods of onnxruntime's quantiser, and what they are given."""

ValueRanges = dict[str, tuple[Array, Array]]
"""`block3/relu6` -> its least and largest number, float32 scalars."""


def ranges_of_segments(
    weights: Weights, segments: Sequence[Segment], images: Sequence[Array], method: RangeMethod
) -> tuple[ChannelRanges, dict[Segment, ValueRanges]]:
    """The ranges of all channels that `equalise` divides, and of what each segment's layers read.

    Every segment is measured on the float32 tokens that really reach it: those of bodies computed as
    engines do, and within a segment those of its equalised graph, node by node.
    """
    channels: ChannelRanges = {}
    ranges: dict[Segment, ValueRanges] = {segment: {} for segment in segments}
    walks: dict[int, Sequence[Array]] = {}  # tokens by the block at which their segments start
    tokens = images
    for block in range(1, max(segment.last for segment in segments) + 1):
        crossing = [s for s in segments if s.first <= block <= s.last]
        if any(segment.first == block for segment in crossing):
            walks[block] = tokens
        tokens = _plain_block(weights, block, tokens, channels)
        for tail in (True, False):
            group = [s for s in crossing if (s.tail and s.last == block) == tail]
            if group:
                graph = equalise(segment_graph(weights, Segment(block, block, tail)), channels)
                _measure(RangeMeter(graph, method), group, walks, ranges)
        walks = {first: x for first, x in walks.items() if _goes_on(first, block, segments)}
    return channels, ranges


def _measure(
    meter: RangeMeter,
    group: Sequence[Segment],
    walks: dict[int, Sequence[Array]],
    ranges: dict[Segment, ValueRanges],
) -> None:
    """Adds a block's ranges to those of the segments in `group`; a body moves their tokens on."""
    for first in sorted({segment.first for segment in group}):
        measured, after = meter.over(walks[first])
        walks[first] = after or walks[first]
        for segment in group:
            if segment.first == first:
                ranges[segment] |= measured


def _goes_on(first: int, block: int, segments: Sequence[Segment]) -> bool:
    return any(segment.first == first and segment.last > block for segment in segments)


def _plain_block(
    weights: Weights, block: int, tokens: Sequence[Array], channels: ChannelRanges
) -> Sequence[Array]:
    """Adds the largest absolute value of each channel to `channels`; the tokens after the block."""
    names = [f"block{block}/{part}" for part in READERS]
    session = float_session(expose(segment_graph(weights, Segment(block, block)), names))
    after = []
    for x in tokens:
        *values, out = session.run([*names, "tokens_out"], {session.get_inputs()[0].name: x})
        after.append(out)
        for name, value in zip(names, values, strict=True):
            top = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            channels[name] = np.maximum(channels.get(name, top), top)
    return after


class RangeMeter:
    """Measures what the linear layers of one float32 segment read, node by node as it is written."""

    def __init__(self, graph: onnx.ModelProto, method: RangeMethod) -> None:
        self._graph, self._method = graph, method
        self._names = sorted({node.input[0] for node in linear_layers(graph)})
        self._tokens = [o.name for o in graph.graph.output if o.name == "tokens_out"]
        self._session = float_session(expose(graph, self._names), optimised=False)

    def over(self, inputs: Sequence[Array]) -> tuple[ValueRanges, Sequence[Array]]:
        """The ranges over `inputs`, batch 1 each, and the tokens that a body passes on for each."""
        source = self._session.get_inputs()[0].name
        ranges: ValueRanges = {}
        after: list[Array] = []
        for x in inputs:
            values = self._session.run([*self._names, *self._tokens], {source: x})
            after += values[len(self._names) :]
            for name, value in zip(self._names, values, strict=False):
                low, high = ranges.get(name, (value.min(), value.max()))
                ranges[name] = np.minimum(low, value.min()), np.maximum(high, value.max())
        if self._method in HISTOGRAMS:
            ranges = _histogram_ranges(self._graph, self._names, inputs, self._method)
        return ranges, after


def linear_layers(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [
        node
        for node in graph.graph.node
        if node.op_type == "MatMul" and node.name.rsplit("/", 1)[-1] in LINEAR_LAYERS
    ]


def float_session(graph: onnx.ModelProto, *, optimised: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # A build may run beside other work: threads that spin would take the cores from each other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _histogram_ranges(
    graph: onnx.ModelProto, names: Sequence[str], inputs: Sequence[Array], method: RangeMethod
) -> ValueRanges:
    """Ranges by a method of onnxruntime's quantiser that counts values."""
    kind, options = HISTOGRAMS[method]
    with tempfile.TemporaryDirectory() as folder, quiet():
        source = Path(folder) / "float.onnx"
        onnx.save(graph, str(source))
        calibrater = create_calibrator(
            source,
            ["MatMul"],
            str(source.with_suffix(".augmented.onnx")),
            kind,
            extra_options=dict(options),
        )
        calibrater.set_execution_providers(["CPUExecutionProvider"])
        calibrater.collect_data(_Reader(graph.graph.input[0].name, inputs))
        ranges = calibrater.compute_data().data
    return {name: tuple(ranges[name].range_value) for name in names}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, inputs: Sequence[Array]) -> None:
        self.rows = iter([{name: x} for x in inputs])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.rows, None)
