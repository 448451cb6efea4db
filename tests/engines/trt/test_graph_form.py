"""Plans come from graphs in the form for the builder, where the package is here that changes graphs."""

import json
import shutil

import numpy as np
import onnx
import pytest

from edge_fiqa.config import PlanOptions
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.trt import graph_form
from edge_fiqa.engines.trt.graph_form import AS_WRITTEN, FUSED, attention_in, form_here, fused_graph
from edge_fiqa.engines.trt.plans import PlanStore, Target
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.types import Segment

HERE = Target("10.3.0", "Orin", "8.7", "12.6", "MAXN", "aarch64-linux")
BODY = Segment(1, 1)


@pytest.fixture
def without_onnx(monkeypatch):
    """take_away() -> the package is not installed from now on."""
    find_spec = graph_form.importlib.util.find_spec

    def take_away():
        gone = lambda name, *rest: None if name == "onnx" else find_spec(name, *rest)  # noqa: E731
        monkeypatch.setattr(graph_form.importlib.util, "find_spec", gone)

    return take_away


@pytest.fixture
def store(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path))

    def make(**options):
        return PlanStore(bundle, HERE, PlanOptions(**options))

    return make


def test_the_graph_is_changed_and_its_weights_stay_where_they_are(bundle):
    path = bundle.file_of(Segment(1, 2, tail=True))
    before, after = path.read_bytes(), fused_graph(str(path))
    assert path.read_bytes() == before
    model = onnx.ModelProto.FromString(after)
    assert "Gather" in {node.op_type for node in model.graph.node}
    outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert {
        entry.value for t in outside for entry in t.external_data if entry.key == "location"
    } == {"weights.bin"}


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_file_that_is_no_graph_is_left_to_the_parser(tmp_path, content):
    if content is not None:
        (tmp_path / "x.onnx").write_bytes(content)
    assert fused_graph(str(tmp_path / "x.onnx")) is None


def test_without_onnx_the_file_is_parsed_as_written(bundle, without_onnx, caplog):
    without_onnx()
    assert form_here() == AS_WRITTEN
    assert fused_graph(str(bundle.file_of(BODY))) is None
    assert "onnx is not installed: body-01-01.onnx is built as written" in caplog.text
    assert "pip install onnx" in caplog.text


def manifest_of(store):
    path = store.path(BODY, 1)
    return path.with_name(f"{path.name}.json")


def test_a_plan_as_written_is_built_again_where_a_better_one_can_be(store):
    """Also one from before: its manifest does not say in which form its graph was."""
    store().save(BODY, 1, b"slow")
    manifest = manifest_of(store())
    content = json.loads(manifest.read_text(encoding="utf-8"))
    assert content.pop("form") == FUSED
    manifest.write_text(json.dumps(content), encoding="utf-8")
    assert store().load(BODY, 1) == (None, "it was built from a graph of more kernels")
    assert store().lacks(BODY, 1)
    store().save(BODY, 1, b"fast")
    assert store().load(BODY, 1)[0] == b"fast"


@pytest.mark.parametrize("option", [{"on_mismatch": "refuse"}, {"version_compatible": True}])
def test_a_plan_as_written_is_right_and_never_refused(store, option):
    """Where nothing is built again, or perhaps cannot be."""
    store(**option).save(BODY, 1, b"slow")
    manifest = manifest_of(store(**option))
    content = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(content | {"form": AS_WRITTEN}), encoding="utf-8")
    assert store(**option).load(BODY, 1)[0] == b"slow"


def test_without_onnx_both_forms_are_taken(store, without_onnx):
    store().save(BODY, 1, b"fast")
    without_onnx()
    assert store().load(BODY, 1)[0] == b"fast"
    store().save(BODY, 1, b"slow")
    assert json.loads(manifest_of(store()).read_text(encoding="utf-8"))["form"] == AS_WRITTEN
    assert store().load(BODY, 1)[0] == b"slow"


def test_scores_without_onnx_are_those_with_it(bundle, one_version, without_onnx, tmp_path):
    """Of float32, to the last digits: one form is exact algebra of the other."""
    faces, scores = synthetic_faces(2), []
    for expected in (FUSED, AS_WRITTEN):
        if expected == AS_WRITTEN:
            without_onnx()
            shutil.rmtree(tmp_path / "cache")
        one_version()
        with open_engine(bundle, "trt") as engine:
            scores.append(all_exits(engine, faces))
        manifests = list((tmp_path / "cache").rglob("*.plan.json"))
        assert {json.loads(m.read_text(encoding="utf-8"))["form"] for m in manifests} == {expected}
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_only_the_changed_form_of_int8_computes_attention_in_another_precision():
    for precision in ("fp32", "fp16", "bf16"):
        assert {attention_in(precision, form) for form in (FUSED, AS_WRITTEN)} == {precision}
    assert attention_in("int8", FUSED) == "fp16"
    assert attention_in("int8", AS_WRITTEN) == "fp32"
