"""How many kernels does NVIDIA's builder make of a segment, and what do plans move in scores?

    python benchmarks/plan_kernels.py [DATA] -o RESULT.json [--limit N]

Kernels: of nano and of a ViT-S of seeded weights in every precision, for one face; of the graphs as
written, and in the form that plans are built from (model/fuse.py). The builder is that of TensorRT for
RTX, which needs no GPU.
With DATA, a folder with splits/ and faces: scores of INT8 in both forms, computed by ONNX Runtime
without optimisation, on faces of test identities, each as it is and once degraded.
"""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import onnx
from common import (
    SHIPPED,
    new_result,
    noise_weights,
    parser,
    read_faces,
    read_split,
    write_result,
)

from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.bundle.manifest import save_manifest
from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.ort import OnnxRuntime
from edge_fiqa.engines.trt import build
from edge_fiqa.engines.trt.api import Log, rtx_api
from edge_fiqa.engines.trt.kernels import described
from edge_fiqa.files import sha256
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.model.fuse import fuse
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.quantise import quantised_segments
from edge_fiqa.model.weight_store import WeightStore
from edge_fiqa.model.weights import Weights, load_weights, verify
from edge_fiqa.training.degradations.table import random_mixture
from edge_fiqa.types import Segment, VitConfig

CAPABILITY = "8.6"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
FORMS = ("as written", "fused")
BLOCK, FIVE = Segment(2, 2), Segment(2, 6)
SEGMENTS = {"nano": (BLOCK, FIVE, Segment(1, 6, tail=True)), "vit_s": (BLOCK, FIVE)}
VIT_S = VitConfig(mode="token", width=512, depth=6, heads=8)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("data", type=Path, nargs="?", help="folder with splits/ and faces")
    arguments.add_argument("--limit", type=int, default=200, help="faces of the split (200)")
    options = arguments.parse_args()
    result = new_result(__doc__) | {"library": str(rtx_api()), "capability": CAPABILITY}
    result["kernels"] = list(all_counts())
    if options.data:
        result["scores"] = score_differences(read_both(options.data, options.limit))
    write_result(result, options.output)


# ---- kernels


def all_counts() -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        for model, segments in SEGMENTS.items():
            for precision in PRECISIONS:
                files = graphs(model, precision, segments, Path(folder))
                for segment, path in files.items():
                    for form in FORMS:
                        yield counted(model, precision, segment, path, form)


def counted(model: str, precision: str, segment: Segment, path: Path, form: str) -> dict:
    """One row: how many kernels, of which kinds, and whether attention is one of them in all blocks."""
    log = Log(rtx_api())
    job = build.PlanJob(path.stem, str(path), 1, PlanOptions(), "", (CAPABILITY,))
    fused_graph = build.fused_graph if form == "fused" else lambda path: None
    with mock.patch.object(build, "fused_graph", fused_graph):
        build.build_plan(job, log, threading.Event(), lambda phase, share: None)
    row = {"model": model, "precision": precision, "segment": segment.name, "form": form}
    row |= described(log.kernels, segment.last - segment.first + 1)
    print(*row.values(), flush=True)
    return row


def graphs(
    model: str, precision: str, segments: tuple[Segment, ...], folder: Path
) -> dict[Segment, Path]:
    """The segments as written, in files."""
    weights, paths = weights_of(model), {}
    for segment in segments:
        path = folder / f"{model}-{precision}-{segment.name}.onnx"
        with WeightStore(folder, f"{path.stem}.bin") as store:
            onnx.save(store.add(graph(weights, segment, precision)), str(path))
        paths[segment] = path
    return paths


def graph(weights: Weights, segment: Segment, precision: str) -> onnx.ModelProto:
    """The count does not depend on ranges: they are of noise."""
    if precision != "int8":
        return segment_graph(weights, segment, precision)
    before = [Segment(1, segment.first - 1)] if segment.first > 1 else []
    return dict(quantised_segments(weights, [*before, segment], synthetic_faces(2)))[segment]


def weights_of(model: str) -> Weights:
    if model == "nano":
        return load_weights(SHIPPED / "nano.safetensors")
    return verify(noise_weights(VIT_S), VIT_S, "noise")


# ---- scores


def read_both(data: Path, limit: int) -> np.ndarray:
    """Faces of the test split, followed by the same ones degraded."""
    rows = read_split(data, "test")
    chosen = np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)
    clean = read_faces(data, [rows[index]["path"] for index in chosen])
    worse = [random_mixture(face, seed=number).pixels for number, face in enumerate(clean)]
    return np.concatenate([clean, np.stack(worse)])


def score_differences(faces: np.ndarray) -> dict:
    """Per shipped model and exit: what INT8 and its fused graphs differ by, and both from float32."""
    table: dict = {"faces": len(faces)}
    for model, forms in SHIPPED_FORMS.items():
        with tempfile.TemporaryDirectory() as folder:
            fused = fused_copy(Bundle.open(forms["int8"]), Path(folder) / "fused")
            exact, written, changed = (
                scores(bundle, faces)
                for bundle in (Bundle.open(forms["fp32"]), Bundle.open(forms["int8"]), fused)
            )
        table[model] = {
            "spread": per_exit(exact.std(axis=0)),
            "rms, fused to as written": rms(changed - written),
            "largest, fused to as written": per_exit(np.abs(changed - written).max(axis=0)),
            "rms, as written to fp32": rms(written - exact),
            "rms, fused to fp32": rms(changed - exact),
        }
        print(model, table[model], flush=True)
    return table


def fused_copy(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle with its graphs in the form of plans."""
    shutil.copytree(bundle.folder, folder)
    files = dict(bundle.manifest.files)
    for segment in bundle.segments:
        path = folder / bundle.file_of(segment).name
        onnx.save(fuse(onnx.load(str(path), load_external_data=False)), str(path))
        files[path.name] = sha256(path)
    save_manifest(msgspec.structs.replace(bundle.manifest, files=files), folder)
    return Bundle.open(folder)


def scores(bundle: Bundle, faces: np.ndarray) -> np.ndarray:
    """(N, E) raw scores of the graphs as they stand in the files."""
    with OnnxRuntime(bundle, 1, optimised=False) as engine:
        return all_exits(engine, faces)


def rms(differences: np.ndarray) -> list[float]:
    return per_exit(np.sqrt((differences.astype(np.float64) ** 2).mean(axis=0)))


def per_exit(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


if __name__ == "__main__":
    main()
