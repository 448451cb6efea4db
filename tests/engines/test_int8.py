"""INT8 of the shipped models: the scores of its graphs as written, on whatever processor."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.bundle.manifest import GOLDEN_FACES
from edge_fiqa.engines.ort import OnnxRuntime
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.model.quantise import LARGEST_WEIGHT

LIMIT = {"nano": 1e-2, "small": 2e-2}  # a value that rounds the other way moves a score by no more
RMS = {"nano": 2e-3, "small": 4e-3}  # deeper exits have more values between two steps
SCORES = f"""
import json, sys
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
with open_engine(Bundle.open(sys.argv[1]), sys.argv[2], threads=1) as engine:
    print(json.dumps(all_exits(engine, synthetic_faces({GOLDEN_FACES})).tolist()))
"""


@pytest.mark.parametrize("model", SHIPPED)
def test_no_weight_can_make_two_products_leave_16_bits(model):
    bundle, seen = Bundle.open(model), 0
    for segment in bundle.segments:
        for tensor in onnx.load(bundle.file_of(segment)).graph.initializer:
            if tensor.name.endswith(".weight_quantized"):
                weights = numpy_helper.to_array(tensor, str(bundle.folder)).astype(int)
                assert np.abs(weights).max() <= LARGEST_WEIGHT, (segment.name, tensor.name)
                seen += 1
    assert seen > 72


@pytest.mark.parametrize("model", SHIPPED)
def test_golden_scores_are_those_of_the_graph_as_written(model):
    bundle = Bundle.open(model)
    with OnnxRuntime(bundle, 1, optimised=False) as engine:
        scores = all_exits(engine, synthetic_faces(GOLDEN_FACES))
    np.testing.assert_allclose(scores, np.array(bundle.manifest.golden), atol=1e-2)


@pytest.mark.parametrize("model", SHIPPED)
@pytest.mark.parametrize("backend", ["ov", "ort"])
@pytest.mark.parametrize("limit", [None, "AVX2"])
def test_every_exit_has_its_golden_score_also_without_vnni(model, backend, limit, tmp_path):
    """limit: the largest instruction set that oneDNN may use; ONNX Runtime knows no such limit."""
    environment = {**os.environ, "EDGE_FIQA_CACHE": str(tmp_path)}  # no kernels of another set
    if limit is not None:
        environment["ONEDNN_MAX_CPU_ISA"] = limit
    command = [sys.executable, "-c", SCORES, model, backend]
    text = subprocess.check_output(command, env=environment, text=True)
    golden = np.array(Bundle.open(model).manifest.golden)
    np.testing.assert_allclose(np.array(json.loads(text)), golden, atol=LIMIT[model])


@pytest.mark.parametrize("model", SHIPPED)
def test_the_manifest_says_how_far_the_engine_lies_from_the_graph(model):
    rows = Bundle.open(model).manifest.parity.exits
    assert all(0 <= row.rms_to_graph <= row.max_to_graph for row in rows)
    assert max(row.rms_to_graph for row in rows) < RMS[model]
