"""What NVIDIA's builder makes of a block today is what the committed result says."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.engines.conftest import fakes
from tests.needs import missing

FOLDER = Path(__file__).parents[2] / "benchmarks"
RESULT = sorted((FOLDER / "results").glob("*-plan_kernels.json"))[-1]
COMMITTED = json.loads(RESULT.read_text(encoding="utf-8"))
BLOCK = "body-02-02"


@pytest.fixture(scope="module")
def script():
    """benchmarks/plan_kernels.py, with the library that the result is of."""
    if fakes.nvidia.library() is None:
        missing("TensorRT for RTX is not installed; pip install 'edge-fiqa[rtx]'")
    sys.path.insert(0, str(FOLDER))
    try:
        module = importlib.import_module("plan_kernels")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("common", None)
    installed = str(module.rtx_api())
    if installed != COMMITTED["library"]:
        pytest.skip(f"counted with {COMMITTED['library']}, this is {installed}: count again")
    return module


def row_of(model, precision, segment, form):
    wanted = {"model": model, "precision": precision, "segment": segment, "form": form}
    (row,) = (row for row in COMMITTED["kernels"] if wanted.items() <= row.items())
    return row


@pytest.mark.parametrize("model", ["nano", "vit_s"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_a_block_has_the_kernels_that_are_committed(script, model, precision, tmp_path):
    (path,) = script.graphs(model, precision, (script.BLOCK,), tmp_path).values()
    for form in script.FORMS if precision == "int8" else ("fused",):
        row = script.counted(model, precision, script.BLOCK, path, form)
        assert row == row_of(model, precision, BLOCK, form)


@pytest.mark.parametrize("model", ["nano", "vit_s"])
@pytest.mark.parametrize("segment", [BLOCK, "body-02-06"])
def test_the_committed_numbers_keep_what_the_form_is_for(model, segment):
    rows = {
        (precision, form): row_of(model, precision, segment, form)
        for precision in ("fp32", "fp16", "bf16", "int8")
        for form in ("as written", "fused")
    }
    for precision in ("fp32", "fp16", "bf16", "int8"):
        fused, written = rows[precision, "fused"], rows[precision, "as written"]
        assert fused["kernels"] < written["kernels"]
        assert fused["attention_fused"] == (precision != "fp32")
    assert not rows["int8", "as written"]["attention_fused"]


def test_the_committed_scores_move_less_than_int8_itself():
    """Of block 1 nothing rounds between its products that the fused form would move."""
    for model in ("nano", "small"):
        scores = COMMITTED["scores"][model]
        moved, lost = scores["rms, fused to as written"], scores["rms, as written to fp32"]
        assert all(m < x for m, x in zip(moved, lost, strict=True))
        assert moved[0] == 0
        assert min(moved[1:]) > 0
