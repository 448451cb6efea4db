"""The fakes and the versions of TensorRT's bindings that they come in."""

import importlib.util
import json
import os
import pwd
import shutil
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
import torch

import edge_fiqa.engines
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import BACKENDS
from edge_fiqa.exits.route import segments_for
from edge_fiqa.files import sha256
from edge_fiqa.model.torch_model import load_vit

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


def contract_over(backend):
    """test_contract.py where `backend` is the only one: the module, and the tests by name that a fake
    of it can pass."""
    path = HERE / "test_contract.py"
    spec = importlib.util.spec_from_file_location(f"contract_over_{backend}", path)
    module = importlib.util.module_from_spec(spec)
    with patch.object(edge_fiqa.engines, "BACKENDS", {backend: BACKENDS[backend]}):
        spec.loader.exec_module(module)
    others = ("test_refused_at_the_door", "test_buckets_are_powers_of_two")
    tests = {
        name: test
        for name, test in vars(module).items()
        if name.startswith("test_") and name not in others
    }
    return module, tests


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home, and nothing said of where a cache may be."""
    for name in ("EDGE_FIQA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nameless(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nameless)


@pytest.fixture(params=list(extract.VERSIONS))
def gpu(request, monkeypatch, tmp_path):
    """A GPU with every version of TensorRT in turn, and an empty plan cache."""
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    world = fakes.install(monkeypatch, fakes.World(), extract.load(request.param))
    yield world
    assert world.complaints == []
    assert world.used() == 0


@pytest.fixture
def rtx_card(monkeypatch, tmp_path):
    """install(**world) -> a made-up card with TensorRT for RTX, anew at every call."""
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))

    def install(sm=(8, 6), **options):
        world = fakes.World(sm=sm, name="RTX", **options)
        return fakes.install(monkeypatch, world, extract.load(extract.RTX))

    return install


def segments_of(weights):
    depth = weights.config.depth
    return segments_for(range(1, depth + 1), tails=weights.config.mode == "token")


def expected(weights, faces):
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        return load_vit(weights)(x).numpy()


@pytest.fixture
def one_version(monkeypatch, tmp_path):
    """install(**world) -> a made-up GPU with the oldest version, anew at every call."""
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))

    def install(version="10.3", **options):
        return fakes.install(monkeypatch, fakes.World(**options), extract.load(version))

    return install


def with_options(bundle, folder, **options):
    """A copy of the bundle that was built for TensorRT with these options."""
    copy = shutil.copytree(bundle.folder, folder / "-".join(["copy", *options]))
    (copy / "tensorrt.json").write_bytes(msgspec.json.encode(options))
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["tensorrt.json"] = sha256(copy / "tensorrt.json")
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Bundle.open(copy)


def with_garbage(bundle, segment):
    """The bundle, in which one graph is none; its manifest has the hash of that."""
    path = bundle.file_of(segment)
    path.write_bytes(b"garbage")
    manifest = json.loads((bundle.folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][path.name] = sha256(path)
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Bundle.open(bundle.folder)


SITE = """
import importlib.util, sys, types
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
fakes = load("edge_fiqa_fakes", {fakes!r})
extract = load("edge_fiqa_trt_extract", {extract!r})
class Forever:
    setitem = staticmethod(lambda mapping, key, value: mapping.__setitem__(key, value))
    setattr = staticmethod(setattr)
    delitem = staticmethod(lambda mapping, key: mapping.__delitem__(key))
import os, time
world = fakes.World()
def on_step(phase, step):
    if phase in ("Preparing graph for optimization", "Timing graph nodes", "Timing tactics"):
        time.sleep(float(os.environ.get("FAKE_STEP_S", "0")))
world.on_step = on_step
fakes.install(Forever, world, extract.load("10.3"))
"""


@pytest.fixture
def children(monkeypatch, tmp_path):
    fakes_in_children(monkeypatch, tmp_path)


def fakes_in_children(monkeypatch, tmp_path, more=""):
    """Child processes have the same fakes. more: what they run beside."""
    text = SITE.format(
        fakes=str(HERE / "fakes/__init__.py"), extract=str(HERE / "trt_api/extract.py")
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(text + more, encoding="utf-8")
    path = [str(tmp_path / "site"), str(HERE.parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def in_fork(work):
    """What `work` says in a forked child; it ends there without Python's own end."""
    ear, mouth = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: the point
        child = os.fork()
    if child == 0:
        try:
            said = work()
        except BaseException as exc:
            said = f"{type(exc).__name__}: {exc}"
        os.write(mouth, str(said).encode())
        os._exit(0)
    os.close(mouth)
    with os.fdopen(ear, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said
