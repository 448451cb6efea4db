"""A YuNet's ONNX file in plain form: float weights, and pictures of every size and number.

OpenCV Zoo's files state one size (640x640), and its 8-bit file holds weights in blocks, with an
attribute at numbers per tensor that ONNX Runtime refuses. Both are undone here; no value changes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edge_fiqa.types import Array

FREE = ("batch", "channels", "height", "width")


def plain_graph(data: bytes) -> bytes:
    """The file's content -> that of a file with dynamic batch, height and width.

    Raises ValueError or onnx's errors for what is no such file.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type in _FOLDED and all(name in constants for name in node.input):
            constants[node.output[0]] = _FOLDED[node.op_type](node, constants)
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    )
    _free_sizes(graph)
    return model.SerializeToString()


def _free_sizes(graph: onnx.GraphProto) -> None:
    for dimension, name in zip(graph.input[0].type.tensor_type.shape.dim, FREE, strict=True):
        if name != "channels":
            dimension.dim_param = name
    for output in graph.output:
        sizes = output.type.tensor_type.shape.dim
        sizes[1].dim_param = f"places of {output.name}"


def _dequantised(node: onnx.NodeProto, constants: dict[str, Array]) -> Array:
    """(q - zero point) scale (ONNX, DequantizeLinear); `block_size` values share a scale."""
    values, scale, zero = (constants[name] for name in node.input)
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if scale.ndim and scale.shape != values.shape and block:
        scale, zero = (np.repeat(each, block, axis) for each in (scale, zero))
        part = tuple(slice(length) for length in values.shape)
        scale, zero = scale[part], zero[part]
    elif scale.ndim == 1 and scale.size > 1:
        shape = [-1 if each == axis else 1 for each in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    result: Array = (values.astype(np.float32) - zero.astype(np.float32)) * scale
    return result.astype(np.float32)


def _reshaped(node: onnx.NodeProto, constants: dict[str, Array]) -> Array:
    values, shape = (constants[name] for name in node.input)
    return values.reshape([int(size) for size in shape])


_FOLDED = {"DequantizeLinear": _dequantised, "Reshape": _reshaped}
