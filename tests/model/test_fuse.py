"""The form for NVIDIA's builder: the same scores, attention in float16 only where the rest is INT8."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.fuse import fuse
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.quantise import quantise_segment
from edge_fiqa.types import Segment
from tests.causes import with_heads

BODY, MIDDLE, TAIL = Segment(1, 2), Segment(2, 2), Segment(1, 2, tail=True)


def copy_of(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def run(model, x):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {session.get_inputs()[0].name: x})


def operators(model):
    return [node.op_type for node in model.graph.node]


def input_of(segment, weights, faces=3):
    if segment.first == 1:
        return synthetic_faces(faces)
    config = weights.config
    shape = (faces, config.tokens, config.width)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def quantised(weights, float_layers=()):
    faces = [face[None] for face in synthetic_faces(4)]
    graph = segment_graph(weights, BODY)
    return quantise_segment(graph, faces, float_layers=float_layers)


@pytest.fixture(params=["tiny", "tiny_c", "tiny_full"])
def weights(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("segment", [BODY, MIDDLE, TAIL, Segment(2, 2, tail=True)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_scores_and_tokens_stay(weights, segment, precision):
    if segment.tail and weights.config.mode != "token":
        pytest.skip("this mode has no tails")
    model = segment_graph(weights, segment, precision)
    fused = fuse(copy_of(model))
    onnx.checker.check_model(fused, full_check=True)
    x = input_of(segment, weights)
    for before, after in zip(run(model, x), run(fused, x), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5 if precision == "fp32" else 2e-3)


@pytest.mark.parametrize("network", ["tiny", "tiny_full"])
@pytest.mark.parametrize("segment", [BODY, MIDDLE, TAIL])
def test_causes_stay(request, network, segment):
    """They are read from the normalisation that all scores share, so fusing still takes one away."""
    weights = with_heads(request.getfixturevalue(network))
    if segment.tail and weights.config.mode != "token":
        pytest.skip("this mode has no tails")
    model = segment_graph(weights, segment)
    fused = fuse(copy_of(model))
    onnx.checker.check_model(fused, full_check=True)
    assert [o.name for o in fused.graph.output] == [o.name for o in model.graph.output]
    x = input_of(segment, weights)
    for before, after in zip(run(model, x), run(fused, x), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)
    norms = [operators(each).count("LayerNormalization") for each in (model, fused)]
    shared = weights.config.mode == "token" and segment.first < segment.last
    assert norms[0] - norms[1] == shared


def test_every_segment_gets_fewer_steps(weights):
    model = segment_graph(weights, BODY)
    fused = fuse(copy_of(model))
    assert operators(fused).count("Transpose") < operators(model).count("Transpose")
    norms = operators(model).count("LayerNormalization")
    together = norms - 1 if weights.config.mode == "token" else norms
    assert operators(fused).count("LayerNormalization") == together


def test_a_float_graph_gets_no_float16(weights):
    model = fuse(segment_graph(weights, BODY))
    kinds = {a.i for node in model.graph.node for a in node.attribute if a.name == "to"}
    assert TensorProto.FLOAT16 not in kinds


def test_attention_of_int8_is_float16_and_nothing_else(weights):
    fused = fuse(quantised(weights))
    onnx.checker.check_model(fused, full_check=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred(fused).value_info}
    half = {name for name, kind in types.items() if kind == TensorProto.FLOAT16}
    producers = {name: node for node in fused.graph.node for name in node.output}
    assert {producers[name].op_type for name in half} <= {
        "Cast", "Concat", "Gather", "MatMul", "Reshape", "Softmax", "Transpose",
    }  # fmt: skip
    for block in (1, 2):
        assert {f"block{block}/{part}" for part in ("logits", "mixed")} <= half
        assert types[f"block{block}/heads"] == TensorProto.FLOAT


def inferred(model):
    return onnx.shape_inference.infer_shapes(model, strict_mode=True).graph


def test_casts_lie_outside_the_pairs_that_round(weights):
    fused = fuse(quantised(weights))
    rounded = {n.output[0] for n in fused.graph.node if n.op_type == "QuantizeLinear"}
    stored = {tensor.name for tensor in fused.graph.initializer}
    for node in fused.graph.node:
        if node.op_type == "DequantizeLinear":
            assert node.input[0] in rounded | stored
        elif rounded & set(node.input):
            pytest.fail(f"{node.op_type} {node.name} reads rounded values")
    assert rounded


def test_a_block_that_a_recipe_leaves_in_float_stays_float(tiny):
    fused = fuse(quantised(tiny, float_layers=["block2"]))
    types = {v.name: v.type.tensor_type.elem_type for v in inferred(fused).value_info}
    assert types["block1/logits"] == TensorProto.FLOAT16
    assert types["block2/logits"] == TensorProto.FLOAT


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_fused_graph_stays_as_it_is(tiny, precision):
    model = fuse(quantised(tiny) if precision == "int8" else segment_graph(tiny, BODY))
    once = model.SerializeToString(deterministic=True)
    assert fuse(model).SerializeToString(deterministic=True) == once


def test_a_graph_of_something_else_stays_as_it_is():
    x = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    node = onnx.helper.make_node("Relu", ["x"], ["y"], "relu")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]))
    before = model.SerializeToString()
    assert fuse(model).SerializeToString() == before


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_int8_keeps_its_scores(name):
    """Against float32 it differs by up to 0.05: what rounds the other way is the same kind of error."""
    bundle = Bundle.open(name)
    segment = min(bundle.segments, key=lambda s: (s.first, -s.last))
    path, faces = bundle.file_of(segment), synthetic_faces(4)
    model = onnx.load(str(path))
    before, after = run(model, faces), run(fuse(copy_of(model)), faces)
    place = [output.name for output in model.graph.output].index("scores")
    differences = (after[place] - before[place]).astype(np.float64)
    assert np.sqrt((differences**2).mean()) < 5e-3
    assert np.abs(differences).max() > 0  # it was the changed graph that ran
