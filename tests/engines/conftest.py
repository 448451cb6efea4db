"""The fakes and the versions of TensorRT's bindings that they come in."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from edge_fiqa.model.build_torch import load_vit
from edge_fiqa.route import segments_for

HERE = Path(__file__).parent


def load(name, path):
    """A package beside the tests, which pytest's importlib mode does not put on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


fakes = load("edge_fiqa_fakes", HERE / "fakes/__init__.py")
torch_gpu = load("edge_fiqa_torch_gpu", HERE / "fakes/torch_gpu.py")
extract = load("edge_fiqa_trt_extract", HERE / "trt_api/extract.py")


@pytest.fixture(params=list(extract.VERSIONS))
def gpu(request, monkeypatch, tmp_path):
    """A GPU with every version of TensorRT in turn, and an empty plan cache."""
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    world = fakes.install(monkeypatch, fakes.World(), extract.load(request.param))
    yield world
    assert world.complaints == []
    assert world.used() == 0


def segments_of(weights):
    depth = weights.config.depth
    return segments_for(range(1, depth + 1), tails=weights.config.mode == "token")


def expected(weights, faces):
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        return load_vit(weights)(x).numpy()
