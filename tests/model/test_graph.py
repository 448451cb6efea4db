"""ONNX segments: the contract of their inputs, outputs, precision and shared constants."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.route import segments_for
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.weight_store import WeightStore
from edge_fiqa.types import Segment
from tests.causes import logits_of, with_heads


def shape(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x})


def test_inputs_and_outputs(tiny):
    first, body, tail = (
        segment_graph(tiny, s).graph for s in (Segment(1, 2), Segment(3, 4), Segment(3, 4, True))
    )
    assert [(v.name, shape(v)) for v in first.input] == [("image", ["N", 112, 112, 3])]
    assert first.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert [(v.name, shape(v)) for v in body.input] == [("tokens", ["N", 145, 32])]
    assert [(v.name, shape(v)) for v in body.output] == [
        ("tokens_out", ["N", 145, 32]),
        ("scores", ["N", 2]),
    ]
    assert [(v.name, shape(v)) for v in tail.output] == [("scores", ["N", 2])]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_pixels_are_cast_before_anything_is_computed(tiny, precision):
    """TensorRT converts a uint8 network input and computes on it nowhere else."""
    model = segment_graph(tiny, Segment(1, 1), precision)
    users = [node for node in model.graph.node if "image" in node.input]
    assert [node.op_type for node in users] == ["Cast"]


def test_opset_and_static_batch(tiny):
    model = segment_graph(tiny, Segment(1, 1), batch=4)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert shape(model.graph.input[0])[0] == 4
    onnx.checker.check_model(model, full_check=True)


def test_one_segment_of_four_equals_four_of_one(tiny, faces):
    whole = run(segment_graph(tiny, Segment(1, 4)), faces)
    x, scores = faces, []
    for k in range(1, 5):
        x, score = run(segment_graph(tiny, Segment(k, k)), x)
        scores.append(score)
    np.testing.assert_allclose(np.hstack(scores), whole[1], atol=1e-5)
    np.testing.assert_allclose(x, whole[0], atol=1e-5)


def test_a_tail_gives_the_scores_of_its_body(tiny, faces):
    body = run(segment_graph(tiny, Segment(1, 3)), faces)[1]
    tail = run(segment_graph(tiny, Segment(1, 3, tail=True)), faces)[0]
    np.testing.assert_allclose(tail, body, atol=1e-5)


@pytest.mark.parametrize(("precision", "kind"), [("fp16", 10), ("bf16", 16)])
def test_half_precision_keeps_norms_residual_and_scores_in_float32(tiny, precision, kind):
    model = onnx.shape_inference.infer_shapes(segment_graph(tiny, Segment(1, 2), precision))
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    types |= {v.name: v.type.tensor_type.elem_type for v in model.graph.output}
    weights = {t.name: t.data_type for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "LayerNormalization" or node.name.endswith(("/mid", "/out", "scores")):
            assert types[node.output[0]] == TensorProto.FLOAT, node.name
        if node.op_type == "MatMul" and node.name.endswith(
            ("/q", "/k", "/v", "/proj", "/fc1", "/fc2")
        ):
            assert weights[node.input[1]] == kind, node.name
            assert types[node.output[0]] == kind, node.name
        if node.op_type in ("Softmax", "Clip"):
            assert types[node.output[0]] == kind, node.name


def test_half_precision_scores_stay_close(tiny, faces):
    exact = run(segment_graph(tiny, Segment(1, 4, True)), faces)[0]
    half = run(segment_graph(tiny, Segment(1, 4, True), "fp16"), faces)[0]
    assert 0 < np.abs(half - exact).max() < 1e-2


def test_bodies_tails_and_the_whole_share_their_weights_on_disk(tiny, tmp_path, faces):
    def size_of(segments):
        folder = tmp_path / str(len(segments))
        folder.mkdir()
        with WeightStore(folder, "weights.bin") as store:
            for segment in segments:
                onnx.save(store.add(segment_graph(tiny, segment)), str(folder / segment.name))
        return (folder / "weights.bin").stat().st_size

    bodies = [Segment(k, k) for k in range(1, 5)]
    everything = segments_for((1, 2, 3, 4), tails=True)
    assert size_of(everything) == size_of(bodies)
    session = onnxruntime.InferenceSession(str(tmp_path / str(len(everything)) / "tail-01-04"))
    stored = session.run(None, {"image": faces})[0]
    np.testing.assert_array_equal(stored, run(segment_graph(tiny, Segment(1, 4, True)), faces)[0])


def test_impossible_segments(tiny, tiny_c):
    with pytest.raises(ConfigError, match="after the last block, 4"):
        segment_graph(tiny, Segment(4, 5))
    with pytest.raises(ConfigError, match="crfiqa mode has no tails"):
        segment_graph(tiny_c, Segment(1, 1, tail=True))
    with pytest.raises(ConfigError, match="int8"):
        segment_graph(tiny, Segment(1, 1), "int8")


def test_half_weights_take_half_the_space_and_compute_in_float32(tiny, faces):
    whole = segment_graph(tiny, Segment(1, 4, True))
    half = segment_graph(tiny, Segment(1, 4, True), half_weights=True)
    assert half.ByteSize() < 0.65 * whole.ByteSize()
    expected, found = run(whole, faces)[0], run(half, faces)[0]
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert not np.array_equal(found, expected)
    products = [
        node.input
        for node in half.graph.node
        if node.op_type == "MatMul" and "dot" not in node.name
    ]
    stored = {t.name: t.data_type for t in half.graph.initializer}
    assert not any(stored.get(name) == onnx.TensorProto.FLOAT16 for row in products for name in row)


def test_heads_of_causes_add_one_product_and_leave_the_rest_of_the_graph_as_it_was(
    tiny, tiny_causes
):
    for segment in segments_for((1, 2, 4), tails=True):
        model, plain = segment_graph(tiny_causes, segment), segment_graph(tiny, segment)
        product, total = model.graph.node[-2:]
        assert (product.op_type, total.op_type) == ("MatMul", "Add")
        name = f"exit{segment.last}/causes"
        assert product.input[1:] + total.input[1:] == [name + "/a", name + "/b"]
        assert shape(model.graph.output[-1]) == ["N", 3]
        score = next(n for n in plain.graph.node if n.name == f"exit{segment.last}/dot")
        assert product.input[0] == score.input[0]  # the token that the score normalised
        for part in (model.graph.node, model.graph.initializer):
            del part[-2:]
        del model.graph.output[-1]
        assert model.SerializeToString() == plain.SerializeToString()


@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-5), ("fp16", 1e-2)])
def test_causes_at_every_exit_are_those_of_their_definition(tiny_causes, faces, precision, atol):
    expected = logits_of(tiny_causes, faces)
    for exit in range(1, 5):
        for tail in (False, True):
            model = segment_graph(tiny_causes, Segment(1, exit, tail), precision)
            np.testing.assert_allclose(run(model, faces)[-1], expected[:, exit - 1], atol=atol)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_causes_are_read_in_float32(tiny_causes, precision):
    model = segment_graph(tiny_causes, Segment(1, 2), precision)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    stored = {t.name: t.data_type for t in model.graph.initializer}
    product = model.graph.node[-2]
    assert {types[product.input[0]], types[product.output[0]]} == {TensorProto.FLOAT}
    assert {stored[f"exit2/causes/{part}"] for part in "ab"} == {TensorProto.FLOAT}


def test_causes_of_a_network_whose_score_reads_all_tokens(tiny_full, faces):
    weights = with_heads(tiny_full)
    expected = logits_of(weights, faces)
    for exit in (1, 2):
        causes = run(segment_graph(weights, Segment(1, exit)), faces)[-1]
        np.testing.assert_allclose(causes, expected[:, exit - 1], atol=1e-5)
