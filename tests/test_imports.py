"""Promises about structure: what importing loads, and which way imports flow."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import edge_fiqa

PACKAGE = Path(edge_fiqa.__file__).parent

ROOMS = [
    "errors", "arguments", "types", "reasons", "record", "config", "csv_text", "files", "kept",
    "exits", "calibration", "policies", "model", "bundle", "engines", "faces", "measurement", "build",
    "scoring", "tables", "distributed", "evaluation", "training", "bench",
    "gateway", "gateway.config", "gateway.video", "gateway.tracks", "gateway.queue",
    "gateway.events", "gateway.outputs", "gateway.service",
    "footage", "gallery", "doctor", "cli", "__main__",
]  # fmt: skip
"""A room imports from itself and from those before it."""

EVERYWHERE = {"numpy", "msgspec"}
LIBRARIES = {
    "PIL": {
        "faces/crop_file.py", "faces/images.py", "faces/pillow_images.py", "faces/tones.py",
        "footage/contact_sheet.py", "gallery/pictures.py",
    },
    "pillow_heif": {"faces/pillow_images.py"},
    "anyio": {"gateway/outputs/upload_limiter.py"},
    "av": {"gateway/video/stream.py"},
    "cv2": {
        "calibration/monitor.py", "cli/effects.py", "doctor/decoders.py", "engines/detector/opencv.py",
        "evaluation/recognition.py", "evaluation/report/extractors.py", "evaluation/skin_tone.py",
        "faces/",
        "footage/second_look.py", "footage/video_file.py", "gallery/likeness.py", "gallery/tight.py",
        "gateway/events/pictures.py", "gateway/tracks/motion_gate.py", "gateway/tracks/regions.py",
        "gateway/tracks/zones.py", "gateway/service/app.py", "gateway/video/capture.py",
        "gateway/video/masks.py", "training/degradations/",
        "training/head_turn.py", "training/pictures.py",
    },
    "filelock": {"files.py"},
    "fsspec": {"tables/places.py"},
    "fastapi": {
        "gateway/outputs/description.py", "gateway/outputs/http.py",
        "gateway/outputs/kserve_routes.py", "gateway/outputs/upload_limiter.py",
    },
    "google": {"engines/trt/graph_form.py"},
    "h11": {"gateway/outputs/server.py"},
    "jinja2": {"evaluation/report/page_template.py"},
    "kornia": {"training/degradations/"},
    "matplotlib": {
        "bench/report.py", "cli/demo.py", "cli/edc_output.py", "evaluation/report/figures.py",
        "training/curve.py",
    },
    "mlperf_loadgen": {"bench/loadgen.py"},
    "onnx": {
        "bench/libraries.py", "build/builder.py", "engines/trt/graph_form.py",
        "evaluation/recognition.py", "model/",
    },
    "onnxruntime": {
        "bench/libraries.py", "engines/detector/ort.py", "engines/ort.py",
        "evaluation/recognition.py", "model/activation_ranges.py",
    },
    "openvino": {"bench/libraries.py", "engines/ov.py"},
    "paho": {"gateway/outputs/mqtt_link.py"},
    "platformdirs": {"files.py"},
    "prometheus_client": {"gateway/outputs/http.py", "gateway/outputs/metrics.py"},
    "pyarrow": {"distributed/", "tables/"},
    "pycuda": {"engines/trt/device.py"},
    "pydantic": {"gateway/config/"},
    "pydantic_core": {"gateway/config/mistakes.py"},
    "ray": {"distributed/cluster.py"},
    "safetensors": {
        "build/builder.py", "doctor/device_check.py", "model/weights.py", "training/export.py",
    },
    "scipy": {
        "build/precision.py", "calibration/risk.py", "training/pictures.py",
        "training/validation.py",
    },
    "sklearn": {"calibration/monotone.py"},
    "starlette": {
        "gateway/outputs/http.py", "gateway/outputs/kserve_routes.py",
        "gateway/outputs/upload_limiter.py",
    },
    "supervision": {"gateway/tracks/tracker.py"},
    "tensorrt": {"engines/trt/api.py"},
    "tensorrt_lean": {"engines/trt/api.py"},
    "tensorrt_rtx_bindings": {"engines/trt/api.py"},
    "tensorrt_rtx_libs": {"engines/trt/api.py"},
    "torch": {
        "bench/libraries.py", "cli/train.py", "engines/torch_/", "model/torch_model.py",
        "model/vit.py", "model/weights.py", "training/",
    },
    "tqdm": {
        "cli/", "engines/build_progress.py", "evaluation/report/mean_attention.py",
        "evaluation/report/feature_cache.py", "training/",
    },
    "trackers": {"gateway/tracks/tracker.py"},
    "uvicorn": {"gateway/outputs/server.py"},
    "yaml": {"gateway/config/yaml_lines.py"},
}  # fmt: skip
"""Where each library may be imported: a file, or all files below a folder."""


def room_of(parts):
    """edge_fiqa.gateway.queue.schedule -> gateway.queue; edge_fiqa.errors -> errors."""
    if parts[0] == "gateway" and len(parts) > 1 and (PACKAGE / "gateway" / parts[1]).is_dir():
        return f"gateway.{parts[1]}"
    return parts[0]


def imports_of(path):
    """Dotted names of all that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield path, parts


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


def test_the_top_shows_at_most_ten_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= 10


def test_rooms_import_from_the_rooms_below():
    for path, parts in modules():
        own = ROOMS.index(room_of(parts))
        for name in imports_of(path):
            library, *inner = name.split(".")
            if library != "edge_fiqa" or inner[0] in ("__version__", "__init__"):
                continue
            assert ROOMS.index(room_of(inner)) <= own, f"{path} imports {name}"


def test_the_engine_contract_knows_no_policy():
    path = PACKAGE / "engines/base.py"
    rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("edge_fiqa.")}
    assert rooms <= {"engines", "errors", "types"}


def test_every_library_has_its_place():
    """One that the table does not list passes nowhere, and every row of the table is in use."""
    used = set()
    for path, parts in modules():
        name = "/".join(parts) + ".py"
        for library in {imported.split(".")[0] for imported in imports_of(path)}:
            if library in sys.stdlib_module_names or library in EVERYWHERE | {"edge_fiqa"}:
                continue
            places = {place for place in LIBRARIES.get(library, ()) if name.startswith(place)}
            assert places, f"{name} imports {library}"
            used |= {(library, place) for place in places}
    assert used == {(library, place) for library in LIBRARIES for place in LIBRARIES[library]}


def test_a_class_name_stands_once():
    """Private ones and type aliases included: a reader who greps for a name finds one thing."""
    places: dict[str, list[str]] = {}
    for path, parts in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                names = [name for name in names if name[0].isupper() and not name.isupper()]
            else:
                continue
            for name in names:
                places.setdefault(name, []).append(".".join(parts))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_public_names_resolve():
    for name in edge_fiqa.__all__:
        assert getattr(edge_fiqa, name) is not None
