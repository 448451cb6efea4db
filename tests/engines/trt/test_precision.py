"""Every exit in every precision, one step after another and at once, against other engines' scores."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle.manifest import GOLDEN_FACES
from edge_fiqa.config import BuildRecipe
from edge_fiqa.doctor.device_check import TOLERANCE
from edge_fiqa.engines import open_engine
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.types import FaceSet
from tests.engines.conftest import fakes

PRECISIONS = ["fp32", "fp16", "bf16", "int8"]


@pytest.fixture(scope="module", params=PRECISIONS)
def built(request, checkpoint, tmp_path_factory):
    """A bundle whose golden scores another engine gave: OpenVINO, which knows bfloat16."""
    faces = FaceSet(synthetic_faces(3), ("a", "b", "c"), "noise")
    recipe = BuildRecipe(
        backend="ov", precision=request.param, segments="1,2,3,4", accept_imprecise=True
    )
    return build_bundle(checkpoint, tmp_path_factory.mktemp("b") / "b", recipe, faces=faces)


def test_every_exit_has_its_golden_score(built, one_version):
    one_version()
    golden, faces = np.array(built.manifest.golden), synthetic_faces(GOLDEN_FACES)
    limit = TOLERANCE[built.manifest.precision]
    with open_engine(built, "trt") as engine:
        found = all_exits(engine, faces)
        assert np.abs(found - golden).max(axis=0).max() <= limit
        for depth in built.manifest.exits:
            (segment,) = route_to(built.segments, depth)
            scores = engine.run(segment, faces).scores
            assert np.abs(scores - golden[:, :depth]).max() <= limit


def test_reduced_precision_is_reduced(built, one_version, checkpoint, tmp_path):
    """Against float32 the rounding shows: it was the reduced graph that ran."""
    precision = built.manifest.precision
    if precision == "fp32":
        pytest.skip("nothing is reduced")
    one_version()
    plain = build_bundle(checkpoint, tmp_path / "plain", BuildRecipe(backend="ort"))
    with open_engine(built, "trt") as engine:
        found = all_exits(engine, synthetic_faces(GOLDEN_FACES))
    error = np.abs(found - np.array(plain.manifest.golden)).max()
    least = {"fp16": 1e-5, "bf16": 1e-4, "int8": 1e-4}[precision]
    assert least < error < {"fp16": 1e-2, "bf16": 8e-2, "int8": 0.25}[precision]


def test_bfloat16_is_emulated_to_the_bit():
    """1 + 2^-8 is no bfloat16: a sum rounds to even, and the next operator sees the rounded value."""
    node = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.BFLOAT16),
        helper.make_node("Add", ["h", "one"], ["sum"]),
        helper.make_node("Sub", ["sum", "one"], ["left"]),
        helper.make_node("Cast", ["left"], ["y"], to=TensorProto.FLOAT),
    ]
    one = helper.make_tensor("one", TensorProto.BFLOAT16, [1], [1.0])
    graph = helper.make_graph(
        node,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    bfloat = fakes.bfloat
    assert bfloat.uses_bfloat16(model)
    session = ort.InferenceSession(bfloat.rounded(model).SerializeToString(), options)
    x = np.array([2.0**-8, 3 * 2.0**-8, 2.0**-7], np.float32)
    (found,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(found, np.array([0, 2.0**-6, 2.0**-7], np.float32))
    assert numpy_helper.to_array(one).astype(np.float32).tolist() == [1.0]
