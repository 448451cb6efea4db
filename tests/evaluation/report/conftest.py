"""A data set of synthetic persons, a network that recognises their colour, and a plan over both."""

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

PERSONS, EACH = 40, 3


def _mean_network(path, outputs, side=112):
    """Mean of each channel; with one output, of all three."""
    axes = [2, 3] if outputs == 3 else [1, 2, 3]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["data"], ["pooled"], axes=axes, keepdims=1),
            helper.make_node("Flatten", ["pooled"], ["out"]),
        ],
        "mean",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", outputs])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folder with persons of one colour each, seen in more or less noise; pairs; two networks."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    names = []
    for person in range(PERSONS):
        colour = rng.uniform(-80, 80, 3)
        for number in range(EACH):
            shift = rng.normal(0, 25 * (number == 2), 3)
            face = 128 + colour + shift + rng.normal(0, 5, (112, 112, 3))
            names.append(f"faces/p{person:02d}/{number}.png")
            path = root / names[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.clip(face, 0, 255).astype(np.uint8))
    lines = ["path_a,path_b,same"]
    for i, a in enumerate(names):
        for j, b in enumerate(names[:i]):
            lines.append(f"{b},{a},{int(i // EACH == j // EACH)}")
    (root / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    _mean_network(root / "colour.onnx", 3)
    _mean_network(root / "light.onnx", 1)
    _mean_network(root / "large.onnx", 3, side=160)
    return root


@pytest.fixture
def write_plan(world, bundle, tmp_path):
    def write(**changes):
        feeding = {"mean": [128.0] * 3, "std": [64.0] * 3}
        plan = {
            "data": [{"path": "pairs.csv", "name": "colours"}],
            "recognisers": [{"path": "colour.onnx", **feeding}],
            "bundles": [str(bundle.folder)],
            "baselines": [{"path": "light.onnx"}, {"measure": "sharpness"}],
            "fmr": [0.05, 1e-3],
            "resamples": 50,
        } | changes
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(plan), encoding="utf-8")
        return path

    return write
