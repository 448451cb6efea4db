"""Every segment in every precision and mode is one that TensorRT's parsers take, by their own lists."""

import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.fuse import fuse
from edge_fiqa.types import FaceSet
from tests.causes import with_heads, write
from tests.engines.conftest import fakes

PRECISIONS = ["fp32", "fp16", "bf16", "int8"]
MODES = ["token", "crfiqa", "full"]


@pytest.fixture(scope="module", params=MODES)
def weights(request, tiny_causes, tiny_c, tiny_full, tmp_path_factory):
    """With heads of causes where the mode has a quality token."""
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    if request.param == "crfiqa":
        save_file(dict(tiny_c.arrays), str(path), {"heads": "2"})
        return path
    return write({"token": tiny_causes, "full": with_heads(tiny_full)}[request.param], path)


@pytest.fixture(params=PRECISIONS)
def models(request, weights, tmp_path):
    faces = FaceSet(synthetic_faces(3), ("a", "b", "c"), "noise")
    recipe = BuildRecipe(backend="ov", precision=request.param, accept_imprecise=True)
    bundle = build_bundle(weights, tmp_path / "b", recipe, faces=faces, heads=2)
    written = {s.name: onnx.load(str(bundle.file_of(s))) for s in sorted(bundle.segments)}
    fused = {f"{s.name} fused": fuse(onnx.load(str(bundle.file_of(s)))) for s in bundle.segments}
    return written | fused


def test_the_parsers_take_every_segment(models):
    for segment, model in models.items():
        assert fakes.refusals(model) == [], segment
        kinds = fakes.operators.element_types(model)
        for node in model.graph.node:
            assert {*node.input, *node.output} - {""} <= kinds.keys(), node.name  # none unchecked
        normed = [n for n in model.graph.node if n.op_type == "LayerNormalization"]
        assert all(len(n.output) == 1 for n in normed)  # TensorRT has output 0 only


def test_bytes_come_in_and_are_cast_and_nothing_else(models):
    """TensorRT: a UINT8 network input, and only a cast to float behind it."""
    for model in models.values():
        (entry,) = model.graph.input
        kind = entry.type.tensor_type.elem_type
        assert kind == (TensorProto.UINT8 if entry.name == "image" else TensorProto.FLOAT)
        readers = [node for node in model.graph.node if entry.name in node.input]
        if kind == TensorProto.UINT8:
            assert [node.op_type for node in readers] == ["Cast"]
            assert [a.i for a in readers[0].attribute] == [TensorProto.FLOAT]
        uint8 = [n for n, k in fakes.operators.element_types(model).items() if k == "UINT8"]
        assert uint8 == [entry.name] * (kind == TensorProto.UINT8)


def test_the_lists_cover_what_the_engine_runs_on():
    versions = [one["tensorrt"] for one in fakes.operators.LISTS]
    assert versions == ["9.2", "10.6", "10.15"]  # 10.3 lies between the first two
    assert fakes.operators.LAST_OPSET == 19
    assert fakes.operators.taken("MatMul") == {"FP32", "FP16", "BF16"}
    assert fakes.operators.taken("Cast") >= {"UINT8", "FP32", "FP16", "BF16"}
    assert fakes.operators.taken("Gelu") is None  # not in the oldest
    assert fakes.operators.taken("QLinearMatMul") is None


def one_node(operator, kind=TensorProto.FLOAT, opset=17, out=None, **attributes):
    x = helper.make_tensor_value_info("x", kind, [1, 4])
    y = helper.make_tensor_value_info("y", kind if out is None else out, None)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], name="n", **attributes)], "g", [x], [y]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (one_node("Softmax"), []),
        (one_node("Softmax", TensorProto.FLOAT16), []),
        (
            one_node("Unique", opset=23),
            ["operator Unique is not supported", "opset 23 is too new"],
        ),
        (one_node("Softmax", opset=8), ["opset 8 is too old"]),
        (
            one_node("Softmax", TensorProto.DOUBLE),
            ["Softmax n on type 11 is not supported"] * 2,
        ),
        (one_node("Cast", TensorProto.UINT8, out=TensorProto.FLOAT, to=TensorProto.FLOAT), []),
        (one_node("Cast", TensorProto.FLOAT, out=TensorProto.UINT8, to=TensorProto.UINT8), []),
        (
            one_node("Transpose", TensorProto.UINT8, perm=[1, 0]),
            [
                "Transpose n on UINT8 is not supported",
                "Transpose n on UINT8 is not supported",
                "Transpose n reads UINT8, which only a cast may",
            ],
        ),
    ],
)
def test_a_parser_that_refuses_is_believed(model, reasons):
    assert fakes.refusals(model) == reasons
