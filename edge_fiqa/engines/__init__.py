"""Backends are rows of a table, imported when chosen."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from edge_fiqa.arguments import whole_number
from edge_fiqa.errors import BackendMissing, ConfigError

if TYPE_CHECKING:
    from edge_fiqa.bundle.bundle import Bundle
    from edge_fiqa.engines.base import Engine

BACKENDS = {
    "ov": "edge_fiqa.engines.ov:OpenVINO",
    "ort": "edge_fiqa.engines.ort:OnnxRuntime",
    "pt": "edge_fiqa.engines.torch_.engine:open_torch",
    "trt": "edge_fiqa.engines.trt.engine:TensorRT",
    "rtx": "edge_fiqa.engines.trt.engine:TensorRTForRTX",
}

LIBRARIES = {
    "ov": "openvino", "ort": "onnxruntime", "pt": "torch", "trt": "tensorrt",
    "rtx": "tensorrt-rtx-cu12-bindings",
}  # fmt: skip
"""The distribution whose version says what computed."""

MAX_BATCH = 64


def cores() -> int:
    """Processors this process may use (fewer than the machine's inside a container or taskset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_engine(bundle: Bundle, backend: str | None = None, threads: int | None = None) -> Engine:
    """Load a bundle on one backend (the bundle's own where none is named).

    threads: how many CPU threads one engine may use; None leaves it to the machine's core count.
    Raises ConfigError for an unknown name, BackendMissing where its library or hardware is absent,
    EngineFailed where the library refuses the bundle.
    """
    name = backend or bundle.manifest.backend
    if name not in BACKENDS:
        raise ConfigError(f"backend {name!r} is not one of {', '.join(BACKENDS)}")
    if threads is not None:
        threads = whole_number("threads", threads, 1)
    module, attribute = BACKENDS[name].split(":")
    try:
        engine: Engine = getattr(import_module(module), attribute)(bundle, threads)
    except ImportError as exc:
        raise BackendMissing(
            f"backend {name!r}: {exc}; run pip install 'edge-fiqa[{name}]'"
        ) from exc
    return engine
