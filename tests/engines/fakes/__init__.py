"""A GPU, PyCUDA and TensorRT of any version, for tests on machines that have none of them."""

import sys
import types
from pathlib import Path

import edge_fiqa.engines

from . import bfloat, nvidia, operators
from .cuda import Crash, Libcuda, World, pycuda_driver
from .operators import refusals
from .tensorrt import make_tensorrt

ENGINE = Path(edge_fiqa.engines.__file__).parent / "trt"
__all__ = ["Crash", "World", "bfloat", "install", "nvidia", "operators", "refusals"]


def install(monkeypatch, world, api):
    """Make the library, `pycuda.driver` and libcuda those of `world`, and import the engine afresh.

    The library is TensorRT, or TensorRT for RTX where the extract `api` is of that one.
    """
    nvidia.library()  # the real one is kept before another takes its name
    for path in ENGINE.glob("[a-z]*.py"):
        name = f"edge_fiqa.engines.trt.{path.stem}"
        monkeypatch.setitem(sys.modules, name, None)  # so that undoing removes what is imported now
        del sys.modules[name]
    package, driver = types.ModuleType("pycuda"), pycuda_driver(world)
    package.driver = driver
    modules = {"pycuda": package, "pycuda.driver": driver}
    if "ComputeCapability" in api["enums"]:
        modules["tensorrt_rtx_libs"] = types.ModuleType("tensorrt_rtx_libs")
        modules["tensorrt_rtx_bindings"] = make_tensorrt(api, world)
    else:
        modules["tensorrt"] = make_tensorrt(api, world)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    from importlib import import_module

    monkeypatch.setattr(
        import_module("edge_fiqa.engines.trt.graphs"), "load_driver", lambda: Libcuda(world)
    )
    return world
