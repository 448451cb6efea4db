"""What TensorRT's ONNX parser takes, from the lists that it comes with (trt_api/operators.json)."""

import json
from pathlib import Path

from onnx import TensorProto, numpy_helper, shape_inference

FILE = Path(__file__).parents[1] / "trt_api/operators.json"
LISTS = json.loads(FILE.read_text(encoding="utf-8"))["lists"]
NAMES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
FIRST_OPSET = max(one["opsets"][0] for one in LISTS)
LAST_OPSET = min(one["opsets"][1] for one in LISTS)


def taken(operator):
    """The element types that every list allows, or None where one does not have the operator."""
    types = [set(one["types"].get(operator, ())) for one in LISTS]
    return set.intersection(*types) or None


def element_types(model):
    """Tensor name -> its type's name in the lists; unknown where inference does not reach."""
    known = shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in known.initializer}
    for value in [*known.input, *known.output, *known.value_info]:
        types[value.name] = value.type.tensor_type.elem_type
    return {name: NAMES.get(kind, f"type {kind}") for name, kind in types.items()}


def refusals(model):
    """Why a parser of 10.3 to 10.15 would refuse this graph: one line per reason."""
    graph, found = model.graph, []
    found += [
        f"operator {node.op_type} is not supported"
        for node in graph.node
        if taken(node.op_type) is None
    ]
    for one in model.opset_import:
        if one.domain not in ("", "ai.onnx"):
            found.append(f"domain {one.domain} is not supported")
        elif one.version > LAST_OPSET:
            found.append(f"opset {one.version} is too new")
        elif one.version < FIRST_OPSET:
            found.append(f"opset {one.version} is too old")
    return found or [*_types(model), *_bytes(graph), *_zero_points(graph)]


def _types(model):
    """The data that a node computes on, not the integers that say how."""
    kinds = element_types(model)
    for node in model.graph.node:
        for name in [*node.input[:1], *node.output[:1]]:
            quantised = node.op_type == "QuantizeLinear" and name == node.output[0]
            restored = node.op_type == "DequantizeLinear" and name == node.output[0]
            if quantised or restored:
                continue  # the lists name what goes in
            if kinds[name] not in taken(node.op_type):
                yield f"{node.op_type} {node.name} on {kinds[name]} is not supported"


def _bytes(graph):
    """UINT8 is what a network takes or gives, and the first or last thing done is a cast."""
    inputs = {v.name for v in graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        if node.op_type != "Cast" and inputs & set(node.input):
            yield f"{node.op_type} {node.name} reads UINT8, which only a cast may"
        to = next((a.i for a in node.attribute if a.name == "to"), None)
        if to == TensorProto.UINT8 and node.output[0] not in {v.name for v in graph.output}:
            yield f"Cast {node.name} makes UINT8 within the network"


def _zero_points(graph):
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants.get(node.input[2]) if len(node.input) > 2 else None
            if zero is not None and numpy_helper.to_array(zero).any():
                yield f"{node.name}: the zero point is not 0"
