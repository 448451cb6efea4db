"""The form of a segment's graph that a plan is built from: fewer kernels than the file as written.

Changing a graph needs the onnx package. Without it plans are built from the file as written, which is
slower, INT8 above all.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from edge_fiqa.engines.trt.api import logger
from edge_fiqa.types import Precision

FUSED: Final = "fused 1"  # another number for every other set of rules in model/fuse.py
AS_WRITTEN: Final = "as written"


def form_here() -> str:
    """The form in which plans are built here."""
    return FUSED if importlib.util.find_spec("onnx") is not None else AS_WRITTEN


def attention_in(precision: Precision, form: str) -> Precision:
    """What a plan computes attention in, but for blocks of INT8 that a recipe leaves in float32."""
    if precision == "int8":
        return "fp16" if form == FUSED else "fp32"
    return precision


def fused_graph(path: str) -> bytes | None:
    """The graph in this file, changed; its large constants stay in the file beside it.

    None where it is to be parsed as written: without onnx, and where it is no graph, which the parser
    then says.
    """
    if form_here() == AS_WRITTEN:
        logger.warning(
            "onnx is not installed: %s is built as written, with more kernels than it needs; run "
            "pip install onnx",
            Path(path).name,
        )
        return None
    import onnx
    from google.protobuf.message import DecodeError

    from edge_fiqa.model.fuse import fuse

    try:
        model = onnx.ModelProto.FromString(Path(path).read_bytes())
    except (OSError, DecodeError):
        return None
    return fuse(model).SerializeToString() if model.graph.node else None
