"""ONNX Runtime: does it really compute in INT8 what the file says?"""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import ort
from edge_fiqa.types import Segment

LAYERS = 6  # q, k, v, proj, fc1, fc2


@pytest.fixture
def optimised(monkeypatch, tmp_path):
    """What ONNX Runtime made of the segment that it loaded last."""

    class Options(onnxruntime.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            self.optimized_model_filepath = str(tmp_path / "optimised.onnx")

    monkeypatch.setattr(ort.ort, "SessionOptions", Options)
    return tmp_path / "optimised.onnx"


def test_every_linear_layer_of_the_shipped_model_multiplies_int8(optimised):
    bundle = Bundle.open()
    with ort.OnnxRuntime(bundle, threads=1) as engine:
        depth = bundle.config.depth
        engine.run(Segment(1, depth, True), np.zeros((1, 112, 112, 3), np.uint8))
    counts = Counter(
        node.op_type for node in onnx.load(optimised, load_external_data=False).graph.node
    )
    # Attention products are float, and in this bundle the stem and what block 1 has for attention.
    in_float = ["q", "k", "v", "proj"]
    assert counts["MatMulIntegerToFloat"] == depth * LAYERS - len(in_float)
    assert counts["MatMul"] == depth * 2 + len(["stem", *in_float])
