"""bfloat16 on a CPU whose kernels do not know it: float32, rounded to bfloat16 after every operator."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference


def uses_bfloat16(model):
    return any(tensor.data_type == TensorProto.BFLOAT16 for tensor in model.graph.initializer)


def rounded(model):
    """The same graph in float32. Inputs and outputs must not be bfloat16."""
    known = shape_inference.infer_shapes(model, strict_mode=True).graph
    half = {
        value.name
        for value in [*known.value_info, *known.input, *known.output]
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16
    }
    assert not half & {value.name for value in [*known.input, *known.output]}
    result = onnx.ModelProto.FromString(model.SerializeToString())
    graph = result.graph
    del graph.value_info[:], graph.node[:]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in model.graph.node:
        fresh = graph.node.add()
        fresh.CopyFrom(node)
        for attribute in fresh.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
        for place, name in enumerate(node.output):
            if name in half:
                fresh.output[place] = f"{name}/exact"
                steps = [(f"{name}/exact", f"{name}/half"), (f"{name}/half", name)]
                types = [TensorProto.BFLOAT16, TensorProto.FLOAT]
                graph.node.extend(
                    helper.make_node("Cast", [source], [target], to=kind)
                    for (source, target), kind in zip(steps, types, strict=True)
                )
    return result
