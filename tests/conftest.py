"""Seeded tiny networks, images, bundles, and the optional shared data."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

# Tests run in as many processes as there are cores. OpenMP's threads would spin while they wait for
# each other, and take the cores from those they wait for: a tenth of the speed, at twice the load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.weights import Weights, expected_shapes, verify
from edge_fiqa.types import Bytes, FaceSet, VitConfig
from tests.causes import with_heads, write

ROOT = Path(__file__).parents[1]
TINY = VitConfig(mode="token", width=32, depth=4, heads=2)
TINY_C = VitConfig(mode="crfiqa", width=16, depth=2, heads=2)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["EDGE_FIQA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell starts what runs in its background with the signal ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def engine_tests():
    """The made-up GPU of the engine's tests."""
    name, path = "edge_fiqa_engine_conftest", ROOT / "tests/engines/conftest.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder with numbers of reference implementations."""
    return ROOT / "tests/data/parity"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real faces and models; tests that need it skip without it."""
    folder = Path(os.environ.get("EDGE_FIQA_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set EDGE_FIQA_SHARED)")
    return folder


def random_weights(config: VitConfig, seed: int = 0) -> Weights:
    """A seeded network whose scores vary: weights scaled by fan-in, norms near 1."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for key, shape in expected_shapes(config).items():
        if key.endswith("running_var"):
            arrays[key] = 0.5 + rng.random(shape)
        elif len(shape) == 1:
            arrays[key] = key.endswith("weight") + 0.1 * rng.standard_normal(shape)
        else:
            arrays[key] = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return verify({k: v.astype(np.float32) for k, v in arrays.items()}, config, "random")


@pytest.fixture(scope="session")
def tiny() -> Weights:
    return random_weights(TINY)


@pytest.fixture(scope="session")
def tiny_c() -> Weights:
    return random_weights(TINY_C)


@pytest.fixture(scope="session")
def tiny_full() -> Weights:
    return random_weights(VitConfig(mode="full", width=16, depth=2, heads=2))


@pytest.fixture(scope="session")
def faces() -> Bytes:
    return synthetic_faces(6, seed=5)


@pytest.fixture(scope="session")
def checkpoint(tiny: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_file(dict(tiny.arrays), str(path), {"heads": str(TINY.heads)})
    return path


@pytest.fixture(scope="session")
def face_set() -> FaceSet:
    """Enough faces to calibrate on, two of a person."""
    groups = tuple(f"person {row // 2}" for row in range(400))
    return FaceSet(synthetic_faces(400, seed=6), groups, "synthetic persons")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, face_set: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny network, float32, calibrated, and with float weights for every backend."""
    target = tmp_path_factory.mktemp("bundle") / "tiny"
    return build_bundle(checkpoint, target, BuildRecipe(backend="pt"), faces=face_set)


@pytest.fixture(scope="session")
def tiny_causes(tiny: Weights) -> Weights:
    """The tiny network, with heads that read causes."""
    return with_heads(tiny)


@pytest.fixture(scope="session")
def cause_checkpoint(tiny_causes: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tiny_causes, tmp_path_factory.mktemp("checkpoint") / "causes.safetensors")


@pytest.fixture(scope="session")
def cause_bundle(cause_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny network with heads, float32, for every backend; not calibrated."""
    target = tmp_path_factory.mktemp("causes") / "tiny"
    return build_bundle(cause_checkpoint, target, BuildRecipe(backend="pt"))


@pytest.fixture
def recogniser_file(tmp_path):
    """An ONNX "recogniser" whose embedding is the mean colour, so that feeding can be checked."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["data"], ["pooled"], axes=[2, 3], keepdims=1),
            helper.make_node("Flatten", ["pooled"], ["embedding"]),
        ],
        "mean",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 112, "w"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "recogniser.onnx"))
    return tmp_path / "recogniser.onnx"
