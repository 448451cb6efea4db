"""Do the forms of the shipped models agree, and does INT8 give its graph's scores everywhere?

    python benchmarks/forms.py DATA -o RESULT.json [--limit N] [--models small] [--ways WAY ...]

DATA: folder with splits/ and faces; the faces are of test identities, each as it is and once degraded.
Every form runs on OpenVINO and ONNX Runtime; INT8 also on OpenVINO held to AVX2, as without VNNI.
INT8 is compared with its own graph computed as it is written, and everything with float32 in quality.
BF16 and FP16 are FP32 graphs that OpenVINO may compute in it, by its hint of the precision; `times` is
one face to full depth with one thread, each way's least of many, as a ratio to "fp32 ov".
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import add_data, new_result, parser, read_faces, read_split, write_result

from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.ort import OnnxRuntime
from edge_fiqa.engines.ov import OpenVINO
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.training.degradations import random_mixture

HINTS = ("bf16", "f16")
WAYS = {  # form, backend, largest instruction set that oneDNN may use
    "fp32 ov": ("fp32", "ov", None),
    "fp32 ort": ("fp32", "ort", None),
    "int8 ov": ("int8", "ov", None),
    "int8 ov, AVX2": ("int8", "ov", "AVX2"),
    "int8 ort": ("int8", "ort", None),
    "int8 as written": ("int8", "written", None),
    "bf16 ov": ("fp32", "bf16", None),
    "fp16 ov": ("fp32", "f16", None),
}


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--limit", type=int, default=200, help="faces of the split (200)")
    arguments.add_argument("--models", nargs="+", default=list(SHIPPED_FORMS), help="both")
    arguments.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="all")
    arguments.add_argument("--child", nargs=5, help="used by the script itself")
    options = arguments.parse_args()
    if options.child:
        child(*options.child)
        return
    rows = read_split(options.data, "test")
    chosen = np.linspace(0, len(rows) - 1, min(options.limit, len(rows))).astype(int)
    clean = read_faces(options.data, [rows[index]["path"] for index in chosen])
    worse = [random_mixture(face, seed=number) for number, face in enumerate(clean)]
    faces = np.concatenate([clean, np.stack(worse)])
    result = new_result(__doc__) | {"faces": len(faces), "models": {}}
    for model in options.models:
        trails = scores(options.data, model, faces, options.ways)
        result["models"][model] = compared(model, trails)
        hints = [WAYS[way][1] for way in options.ways if WAYS[way][1] in HINTS]
        result["models"][model]["times of fp32 ov"] = times(model, ["f32", *hints], faces[:1])
        print(model, result["models"][model]["times of fp32 ov"], flush=True)
    write_result(result, options.output)


def scores(data: Path, model: str, faces: np.ndarray, ways: Sequence[str]) -> dict[str, np.ndarray]:
    """Way -> (N, E) raw scores, each from a process of its own."""
    trails = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/faces.npy", faces)
        for way in ways:
            form, backend, limit = WAYS[way]
            # Kernels compiled for another instruction set would come back from the cache.
            environment = {**os.environ, "EDGE_FIQA_CACHE": f"{folder}/{limit}"}
            if limit is not None:
                environment["ONEDNN_MAX_CPU_ISA"] = limit
            files = (f"{folder}/faces.npy", f"{folder}/scores.npy")
            command = [sys.executable, __file__, str(data), "--child", model, form, backend, *files]
            subprocess.run(command, env=environment, check=True)
            trails[way] = np.load(files[1])
            print(f"{model}, {way}: done", flush=True)
    return trails


def child(model: str, form: str, backend: str, faces: str, target: str) -> None:
    bundle = Bundle.open(SHIPPED_FORMS[model][form])
    if backend == "written":
        engine = OnnxRuntime(bundle, 1, optimised=False)
    elif backend in HINTS:
        engine = Hinted(bundle, backend)
    else:
        engine = open_engine(bundle, backend, 1)
    with engine:
        np.save(target, all_exits(engine, np.load(faces)))


class Hinted(OpenVINO):
    """OpenVINO that may compute in this precision. It keeps to float32 where the processor cannot."""

    def __init__(self, bundle: Bundle, hint: str) -> None:
        self.hint = hint
        super().__init__(bundle, 1)

    def _properties(self) -> dict[str, Any]:
        return {**super()._properties(), "INFERENCE_PRECISION_HINT": self.hint}


def times(model: str, hints: Sequence[str], face: np.ndarray) -> dict[str, float]:
    """Least ms of one face to full depth, in turn, as a ratio to that of float32."""
    bundles = {form: Bundle.open(folder) for form, folder in SHIPPED_FORMS[model].items()}
    engines: dict[str, OpenVINO] = {hint: Hinted(bundles["fp32"], hint) for hint in hints}
    engines["int8"] = OpenVINO(bundles["int8"], 1)
    least = dict.fromkeys(engines, np.inf)
    for _ in range(40):
        for hint, engine in engines.items():
            (whole,) = route_to(engine.segments, engine.config.depth)
            began = time.perf_counter()
            engine.run(whole, face)
            least[hint] = min(least[hint], time.perf_counter() - began)
    for engine in engines.values():
        engine.close()
    return {hint: round(value / least["f32"], 2) for hint, value in least.items()}


def compared(model: str, trails: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Per exit: raw differences to the graph as written and to float32, and shares within a point."""
    estimator = Estimator.of(Bundle.open(model).calibration, "FW")
    exact, written = trails["fp32 ort"], trails.get("int8 as written")
    table = {}
    for way, trail in trails.items():
        off = np.abs(qualities(estimator, trail) - qualities(estimator, exact))
        row = {
            "within a point of fp32": (off <= 1).mean(axis=0),
            "rms to fp32": rms(trail - exact),
        }
        if way.startswith("int8") and written is not None:
            row["rms to the graph"] = rms(trail - written)
            row["99 % to the graph"] = np.quantile(np.abs(trail - written), 0.99, axis=0)
            row["largest to the graph"] = np.abs(trail - written).max(axis=0)
        if way == "int8 ov, AVX2" and "int8 ov" in trails:
            row["largest to int8 ov"] = np.abs(trail - trails["int8 ov"]).max(axis=0)
        table[way] = {name: [round(float(v), 6) for v in values] for name, values in row.items()}
        print(model, way, table[way], flush=True)
    return table


def rms(differences: np.ndarray) -> np.ndarray:
    return np.sqrt((differences.astype(np.float64) ** 2).mean(axis=0))


def qualities(estimator: Estimator, trail: np.ndarray) -> np.ndarray:
    """(N, E) 0-100, of FW at every depth, rounded as in records."""
    depths = range(1, trail.shape[1] + 1)
    columns = [
        estimator.qualities(fuse(trail, depth), np.full(len(trail), depth)).quality
        for depth in depths
    ]
    return np.stack(columns, axis=1)


if __name__ == "__main__":
    main()
