"""INT8: symmetric, per channel, linear layers only."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.route import segments_for
from edge_fiqa.model.activation_ranges import RangeMeter
from edge_fiqa.model.graph import LINEAR_LAYERS, segment_graph
from edge_fiqa.model.quantise import (
    LARGEST_WEIGHT,
    quantise_segment,
    quantised_graph,
    quantised_segments,
)
from edge_fiqa.types import Segment
from tests.causes import logits_of

SEGMENT = Segment(1, 2)


@pytest.fixture(scope="module")
def model(tiny, faces):
    return quantise_segment(segment_graph(tiny, SEGMENT), [face[None] for face in faces])


def test_scales_and_weights_are_those_of_onnxruntimes_quantiser(tiny, faces):
    """It makes one after another in Python, for every segment anew; ours takes a twentieth of that."""
    graph = segment_graph(tiny, SEGMENT)
    ranges, _ = RangeMeter(graph, "minmax").over([face[None] for face in faces])
    theirs = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in quantised_by_onnxruntime(graph, ranges).graph.initializer
    }
    theirs["stem/pixels_scale"] = np.float32(1)
    ours = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in quantised_graph(graph, ranges).graph.initializer
    }
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(value, theirs[name], name)


def quantised_by_onnxruntime(graph, ranges):
    linear = [n.name for n in graph.graph.node if n.name.rsplit("/", 1)[-1] in LINEAR_LAYERS]
    softmaxes = [n.output[0] for n in graph.graph.node if n.op_type == "Softmax"]
    shares = dict.fromkeys(softmaxes, (np.float32(0), np.float32(1)))
    inferred = onnx.shape_inference.infer_shapes(graph)
    inferred.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    quantiser = QDQQuantizer(
        inferred,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges | shares),
        nodes_to_quantize=linear,
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "OpTypesToExcludeOutputQuantization": ["MatMul"],
        },
    )
    quantiser.quantize_model()
    return quantiser.model.model


def test_a_value_that_is_always_zero_has_scale_one(tiny, faces):
    graph = segment_graph(tiny, SEGMENT)
    ranges, _ = RangeMeter(graph, "minmax").over([face[None] for face in faces])
    zero = np.float32(0), np.float32(0)
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in quantised_graph(graph, ranges | {"block1/relu6": zero}).graph.initializer
    }
    assert constants["block1/relu6_scale"] == 1
    assert constants["block2/relu6_scale"] == np.float32(ranges["block2/relu6"][1] / 127)


def test_the_float_graph_is_left_as_it_is(tiny, faces):
    graph = segment_graph(tiny, SEGMENT)
    before = graph.SerializeToString(deterministic=True)
    quantise_segment(graph, [faces[:1]])
    assert graph.SerializeToString(deterministic=True) == before


def test_zero_points_are_zero_and_int8(model):
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert nodes
    for node in nodes:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()


def test_weights_have_a_scale_per_output_channel(model):
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {n.input[0]: n for n in model.graph.node if n.input and n.input[0] in constants}
    node = found["block1/fc1.weight_quantized"]
    assert constants[node.input[0]].dtype == np.int8
    assert constants[node.input[0]].shape == (32, 128)
    assert constants[node.input[1]].shape == (128,)
    assert next(a.i for a in node.attribute if a.name == "axis") == 1


def test_two_products_never_leave_16_bits(model):
    """Processors without VNNI add two products of an unsigned and a signed byte, saturating."""
    assert np.iinfo(np.int16).max >= 2 * 255 * LARGEST_WEIGHT
    weights = [
        numpy_helper.to_array(t)
        for t in model.graph.initializer
        if t.name.endswith(".weight_quantized")
    ]
    assert len(weights) == 13
    assert all(np.abs(w.astype(int)).max() == LARGEST_WEIGHT for w in weights)


def test_only_the_linear_layers_are_quantised(model):
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            sources = {made_by[i].op_type for i in node.input if i in made_by}
            linear = node.name.rsplit("/", 1)[-1] in ("stem", "q", "k", "v", "proj", "fc1", "fc2")
            assert (sources == {"DequantizeLinear"}) == linear, node.name


def test_sums_are_not_rounded(model):
    readers = {i: node.op_type for node in model.graph.node for i in node.input}
    sums = [n for n in model.graph.node if n.op_type == "MatMul"]
    assert sums
    assert "QuantizeLinear" not in {readers.get(node.output[0]) for node in sums}


def test_query_key_and_value_each_quantise_their_input(model):
    """ONNX Runtime leaves layers that share a pair in float."""
    quantised = [
        node.input[0]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] == "block1/norm1"
    ]
    assert len(quantised) == 3


def test_centred_pixels_keep_scale_one(model):
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    node = next(
        n for n in model.graph.node if n.op_type == "QuantizeLinear" and "pixels" in n.input[0]
    )
    assert constants[node.input[1]] == 1.0


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_scores_stay_close(tiny, faces, method):
    plain = segment_graph(tiny, SEGMENT)
    quantised = quantise_segment(plain, [face[None] for face in faces], method)
    exact, found = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(["scores"], {"image": faces})[0]
        for m in (plain, quantised)
    )
    spread = np.ptp(exact, axis=0)
    assert np.abs(found - exact).max() < 0.25 * spread.min()
    assert not np.array_equal(found, exact)


def test_every_segment_is_made_once(tiny, tiny_c, faces):
    for weights, tails in ((tiny, True), (tiny_c, False)):
        ends = (1, weights.config.depth)
        wanted = segments_for(ends, tails)
        made = [segment for segment, _ in quantised_segments(weights, wanted, faces[:2])]
        assert sorted(made) == sorted(wanted)


def test_no_faces_no_ranges(tiny, faces):
    with pytest.raises(ConfigError, match="--calibration-images"):
        list(quantised_segments(tiny, [SEGMENT], faces[:0]))


def test_entropy_looks_for_a_narrower_range_than_the_whole(tiny, capsys):
    """Tokens with one loud channel: the whole range wastes steps that most values need."""
    graph = segment_graph(tiny, Segment(2, 2))
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(8, 1, tiny.config.tokens, tiny.config.width)).astype(np.float32)
    tokens[..., 0] *= 30
    scales = {
        method: {
            t.name: float(numpy_helper.to_array(t))
            for t in quantise_segment(graph, list(tokens), method).graph.initializer
            if t.name.endswith("_scale") and not t.dims
        }
        for method in ("minmax", "entropy")
    }
    assert scales["entropy"].keys() == scales["minmax"].keys()
    narrower = [
        scales["entropy"][name] < 0.99 * scales["minmax"][name] for name in scales["minmax"]
    ]
    assert any(narrower)
    assert not any(scales["entropy"][n] > 1.01 * scales["minmax"][n] for n in scales["minmax"])
    assert capsys.readouterr().out == ""


def test_only_the_calibraters_words_are_hushed(tiny, faces, caplog):
    def images():
        logging.warning("ours")
        return faces[0][None]

    class Loud(list):
        def __iter__(self):
            return iter([images()])

    quantise_segment(segment_graph(tiny, SEGMENT), Loud(), "percentile")
    assert {record.getMessage() for record in caplog.records} == {"ours"}
    logging.warning("after")
    assert caplog.records[-1].getMessage() == "after"
    assert not logging.getLogger().filters


def test_a_segment_whose_layers_all_stay_float_is_its_float32_graph(tiny, faces):
    graph = segment_graph(tiny, Segment(1, 1, True))
    kept = quantise_segment(graph, [faces[:1]], float_layers=["stem", "block1"])
    assert "QuantizeLinear" not in {node.op_type for node in kept.graph.node}
    scores = [
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"image": faces[:1]})[-1]
        for each in (graph, kept)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_heads_of_causes_stay_float_and_move_no_scale(tiny, tiny_causes, faces, method):
    """INT8 rounds what comes before them: logits stay within 0.25 of float32, as scores do."""
    segments = [Segment(1, exit, tail=True) for exit in (2, 4)]
    plain = dict(quantised_segments(tiny, segments, faces, method))
    expected = logits_of(tiny_causes, faces)
    for segment, model in quantised_segments(tiny_causes, segments, faces, method):
        product = next(n for n in model.graph.node if n.name.endswith("causes/dot"))
        assert product.input[1] == f"exit{segment.last}/causes/a"
        session = onnxruntime.InferenceSession(model.SerializeToString())
        scores, causes = session.run(["scores", "causes"], {"image": faces})
        error = np.abs(causes - expected[:, segment.last - 1]).max()
        assert 0 < error < 0.25
        for part in (model.graph.node, model.graph.initializer):
            kept = [each for each in part if "causes" not in (each.name or each.output[0])]
            del part[:]
            part.extend(kept)
        del model.graph.output[-1]
        assert model.SerializeToString() == plain[segment].SerializeToString()
        assert scores.shape == (len(faces), segment.last)
