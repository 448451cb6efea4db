"""A GPU, PyCUDA and TensorRT of any version, for tests on machines that have none of them."""

import sys
import types
from pathlib import Path

import edge_fiqa.engines

from . import bfloat, operators
from .cuda import Crash, Libcuda, World, pycuda_driver
from .operators import refusals
from .tensorrt import make_tensorrt

ENGINE = Path(edge_fiqa.engines.__file__).parent / "trt"
__all__ = ["Crash", "World", "bfloat", "install", "operators", "refusals"]


def install(monkeypatch, world, api):
    """Make `tensorrt`, `pycuda.driver` and libcuda those of `world`, and import the engine afresh."""
    for path in ENGINE.glob("[a-z]*.py"):
        name = f"edge_fiqa.engines.trt.{path.stem}"
        monkeypatch.setitem(sys.modules, name, None)  # so that undoing removes what is imported now
        del sys.modules[name]
    package, driver = types.ModuleType("pycuda"), pycuda_driver(world)
    package.driver = driver
    for name, module in {
        "tensorrt": make_tensorrt(api, world), "pycuda": package, "pycuda.driver": driver,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    from importlib import import_module

    monkeypatch.setattr(
        import_module("edge_fiqa.engines.trt.graphs"), "load_driver", lambda: Libcuda(world)
    )
    return world
