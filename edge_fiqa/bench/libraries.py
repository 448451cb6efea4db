"""The fastest matrix product of a computing library on this machine, and its memory on a GPU.

The peak of a machine is what the same library in the same precision reaches on one product of a
constant matrix: no graph of linear layers can be faster. Several shapes are tried and the fastest is
taken. So a share of the peak is never stated too high.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from edge_fiqa.errors import BackendMissing
from edge_fiqa.types import Array, Precision

CPU_SHAPES = ((145, 512, 2048), (1024, 1024, 1024), (1160, 512, 2048), (2048, 2048, 2048))
GPU_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192))


@dataclass(frozen=True)
class Product:
    """(m, k) x (k, n) in one library, ready to run."""

    shape: tuple[int, int, int]
    run: Callable[[], object]

    @property
    def gflop(self) -> float:
        m, k, n = self.shape
        return 2e-9 * m * k * n


def fastest_product(backend: str, precision: Precision, threads: int, device: str) -> Product:
    """The shape that gives most GFLOPs/s. Raises BackendMissing where the library has none."""
    if backend not in _MAKERS:
        raise BackendMissing(f"no matrix product is known for backend {backend!r}")
    shapes = GPU_SHAPES if _on_gpu(device) else CPU_SHAPES
    try:
        products = [_MAKERS[backend](shape, precision, threads, device) for shape in shapes]
    except ImportError as exc:
        raise BackendMissing(f"the peak needs {exc.name}; pip install 'edge-fiqa[bench]'") from exc
    except RuntimeError as exc:
        raise BackendMissing(f"{backend} makes no {precision} product: {exc}") from exc
    return max(products, key=lambda product: product.gflop / _seconds(product.run))


def device_peak_mb(device: str) -> float | None:
    """Most device memory that torch held so far, or None where it held none."""
    if not _on_gpu(device) or "torch" not in sys.modules:
        return None
    torch = import_module("torch")
    return round(torch.cuda.max_memory_reserved() / 1e6, 1)


def _on_gpu(device: str) -> bool:
    return device.lower().startswith(("cuda", "nvidia"))


def _seconds(run: Callable[[], object], tries: int = 5) -> float:
    run()
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _openvino(
    shape: tuple[int, int, int], precision: Precision, threads: int, device: str
) -> Product:
    import openvino as ov

    model = ov.Core().read_model(_graph(shape, precision))
    properties = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = ov.Core().compile_model(model, "CPU", properties).create_infer_request()
    return Product(shape, lambda: request.infer(share_inputs=True, share_outputs=True))


def _onnxruntime(
    shape: tuple[int, int, int], precision: Precision, threads: int, device: str
) -> Product:
    import onnxruntime as ort

    if precision == "bf16":
        raise BackendMissing("ONNX Runtime has no bfloat16 kernels on CPU")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(
        _graph(shape, precision), options, providers=["CPUExecutionProvider"]
    )
    dtype = np.float16 if precision == "fp16" else np.float32
    x = {"x": np.zeros(shape[:2], dtype)}
    return Product(shape, lambda: session.run(None, x))


def _torch(shape: tuple[int, int, int], precision: Precision, threads: int, device: str) -> Product:
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in kinds:
        raise BackendMissing("the torch engine runs no int8")
    m, k, n = shape
    place = "cuda" if _on_gpu(device) else "cpu"
    a = torch.ones((m, k), dtype=kinds[precision], device=place)
    b = torch.ones((k, n), dtype=kinds[precision], device=place)

    def run() -> None:
        torch.matmul(a, b)
        if place == "cuda":
            torch.cuda.synchronize()

    return Product(shape, run)


_MAKERS = {"ov": _openvino, "ort": _onnxruntime, "pt": _torch}


def _graph(shape: tuple[int, int, int], precision: Precision) -> bytes:
    """One product with a constant matrix, as a linear layer is: typed, or QDQ for int8."""
    from onnx import TensorProto, helper

    m, k, n = shape
    weight = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    types = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
    kind = types.get(precision, TensorProto.FLOAT)
    if precision == "int8":
        nodes, constants = _qdq_inputs(weight)
    else:
        array = weight.astype(helper.tensor_dtype_to_np_dtype(kind))
        nodes = []
        constants = [helper.make_tensor("w", kind, array.shape, array.tobytes(), raw=True)]
    nodes.append(helper.make_node("MatMul", ["xq" if nodes else "x", "w"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", kind, [m, k])],
        [helper.make_tensor_value_info("y", kind, [m, n])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def _qdq_inputs(weight: Array) -> tuple[list[Any], list[Any]]:
    """weight (k, n) -> nodes and constants that make xq from x, and w, both from int8."""
    from onnx import helper, numpy_helper

    scale = np.abs(weight).max(axis=0) / 127
    values = {
        "w8": np.rint(weight / scale).astype(np.int8),
        "w_scale": scale.astype(np.float32),
        "w_zero": np.zeros(len(scale), np.int8),
        "scale": np.float32(0.03),
        "zero": np.int8(0),
    }
    constants = [numpy_helper.from_array(np.asarray(v), name) for name, v in values.items()]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["w8", "w_scale", "w_zero"], ["w"], axis=1),
    ]
    return nodes, constants
