"""Promises about structure: what importing loads, and which way imports flow."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import edge_fiqa

PACKAGE = Path(edge_fiqa.__file__).parent

LAYERS = [
    {"errors", "types"},
    {"config", "cost", "fusion", "policy", "record", "route", "calibration", "audit"},
    {"gate"},
    {"images", "align", "landmarks", "detect"},
    {"sources", "bundle", "model"},
    {"engines"},
    {"energy"},
    {"controller", "measure", "monitor"},
    {"recorder", "precision", "recognition", "evaluation"},
    {"scorer", "build"},
    {"service"},
    {"output", "resume", "pipeline", "training", "study", "bench", "gateway"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_import_loads_no_backend():
    heavy = {"torch", "tensorrt", "pycuda", "onnxruntime", "openvino", "onnx", "cv2", "matplotlib"}
    code = f"import sys, edge_fiqa; print(*({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_scoring_needs_neither_torch_nor_onnx(bundle, tmp_path):
    code = f"""
import sys
for name in ("torch", "onnx", "onnxruntime", "scipy", "sklearn", "safetensors", "matplotlib", "PIL"):
    sys.modules[name] = None  # importing any of them fails from now on
import numpy as np
from edge_fiqa import Scorer, Fixed
from pathlib import Path
with Scorer.open(Path({str(bundle.folder)!r}), backend="ov") as scorer:
    print(scorer.score_face(np.zeros((112, 112, 3), np.uint8), [Fixed(2)]).exit.depth)
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "2"


def test_openvino_reports_nothing(tmp_path):
    """It would send its import to Google Analytics, and leave a number for this user."""
    code = """
import sys, edge_fiqa.engines.ov
from openvino.tools.ovc import telemetry
print(telemetry.__class__.__module__, "openvino_telemetry" in sys.modules)
"""
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    command = [sys.executable, "-c", code]
    said = subprocess.check_output(command, text=True, env=environment).split()
    assert said == ["openvino.tools.ovc.telemetry_stub", "False"]
    assert list(tmp_path.iterdir()) == []


def test_imports_flow_one_way():
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        own = parts[0]
        if own == "__init__":
            continue
        assert own in LEVEL, f"{own} has no place in the order of layers"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.startswith("edge_fiqa")
            ):
                for target in {layer_of(node.module)} - {"", own}:
                    assert LEVEL[target] <= LEVEL[own], f"{path.name} imports {node.module}"


def test_every_library_is_touched_in_its_own_place():
    """OpenVINO, ONNX Runtime and torch each have one engine; nothing else runs them at scoring."""
    allowed = {
        "openvino": {"engines/ov.py", "bench/libraries.py"},
        "torch": {
            "engines/pt.py",
            "engines/pt_cuda.py",
            "engines/pt_device.py",
            "engines/pt_graphs.py",
            "engines/pt_network.py",
            "model/vit.py",
            "model/build_torch.py",
            "bench/libraries.py",
            "model/weights.py",
            "training/batches.py",
            "training/critic.py",
            "training/degradations.py",
            "training/loop.py",
            "training/losses.py",
            "training/student.py",
            "cli/train.py",
        },
        "tensorrt": {"engines/trt_api.py"},
        "tensorrt_lean": {"engines/trt_api.py"},
        "pycuda": {"engines/trt_device.py"},
        "onnxruntime": {
            "engines/ort.py",
            "bench/libraries.py",
            "model/quantise.py",
            "recognition.py",
        },
        "fastapi": {"gateway/outputs/http.py"},
        "paho": {"gateway/outputs/mqtt.py"},
        "prometheus_client": {"gateway/outputs/http.py", "gateway/outputs/metrics.py"},
        "trackers": {"gateway/tracks.py"},
        "uvicorn": {"gateway/outputs/server.py"},
        "supervision": {"gateway/tracks.py"},
    }
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                library = module.split(".")[0]
                assert name in allowed.get(library, {name}), f"{name} imports {library}"


def test_public_names_resolve():
    for name in edge_fiqa.__all__:
        assert getattr(edge_fiqa, name) is not None
