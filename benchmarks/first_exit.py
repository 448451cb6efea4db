"""Which layers of block 1 must stay in float for INT8 to give the quality of float32 at exit 1?

    python benchmarks/first_exit.py DATA -o RESULT.json [--models nano small] [--limit N]

DATA: folder with splits/ and faces; ranges are of calibration faces, scores of test identities, each
face as it is and once degraded. Graphs are computed as they are written. The time is that of exit 1
and of block 1 for all tokens on OpenVINO with one thread, as a ratio to the first row, each the least
of many.
"""

import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import openvino
from common import add_data, new_result, parser, read_faces, read_split, write_result

from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.model.activation_ranges import ranges_of_segments
from edge_fiqa.model.equalise import equalise
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.quantise import quantise_segment
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.degradations.table import random_mixture
from edge_fiqa.types import Segment

LEAST = ("stem", "block1/proj")  # what shipped INT8 forms left in float before decision 44
FLOAT_LAYERS = {
    "stem, proj": LEAST,
    "and qkv": (*LEAST, "block1/q", "block1/k", "block1/v"),
    "and fc1, fc2": (*LEAST, "block1/fc1", "block1/fc2"),
    "all of block 1": ("stem", "block1"),
}
EXIT_1, BLOCK_1 = Segment(1, 1, True), Segment(1, 1)


def main():
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--limit", type=int, default=300, help="faces of the split (300)")
    arguments.add_argument("--models", nargs="+", default=list(SHIPPED_FORMS))
    options = arguments.parse_args()
    clean = faces_of(options.data, "test", options.limit)
    worse = [random_mixture(face, seed=number).pixels for number, face in enumerate(clean)]
    faces = np.concatenate([clean, np.stack(worse)])
    result = new_result(__doc__) | {"faces": len(faces), "models": {}}
    for model in options.models:
        ranges_of = faces_of(options.data, "calibration", 256 if model == "nano" else 128)
        result["models"][model] = compared(model, faces, ranges_of)
    write_result(result, options.output)


def faces_of(data, split, limit):
    rows = read_split(data, split)
    chosen = np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)
    return read_faces(data, [rows[index]["path"] for index in chosen])


def compared(model, faces, ranges_of):
    weights = load_weights(Path(f"edge_fiqa/models/{model}.safetensors"))
    estimator = Estimator.of(Bundle.open(model).calibration, "FW")
    inputs = [face[None] for face in ranges_of]
    ranges, _ = ranges_of_segments(weights, [EXIT_1], inputs, "minmax")
    exact = scores(segment_graph(weights, EXIT_1), faces)
    graphs, bodies, rows = {}, {}, {}
    for name, layers in FLOAT_LAYERS.items():
        graphs[name] = quantise_segment(
            equalise(segment_graph(weights, EXIT_1), ranges), inputs, "minmax", layers
        )
        bodies[name] = quantise_segment(
            equalise(segment_graph(weights, BLOCK_1), ranges), inputs[:8], "minmax", layers
        )
        raw = scores(graphs[name], faces)
        off = np.abs(qualities(estimator, raw) - qualities(estimator, exact))
        rows[name] = {
            "within a point of fp32": round(float((off <= 1).mean()), 4),
            "rms to fp32": round(float(np.sqrt(((raw - exact) ** 2).mean())), 5),
            "mb of block 1": round(bodies[name].ByteSize() / 1e6, 2),
        }
        print(model, name, rows[name], flush=True)
    for key, chosen in (("exit 1, times", graphs), ("block 1, times", bodies)):
        for name, ratio in ratios(chosen, faces[:1]).items():
            rows[name][key] = ratio
    print(model, rows, flush=True)
    return rows


def scores(graph, faces):
    """(N,) raw scores of exit 1, of a graph computed as it is written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options)
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    return np.array(
        [float(session.run([output], {name: face[None]})[0].ravel()[0]) for face in faces]
    )


def qualities(estimator, raw):
    return estimator.qualities(fuse(raw[:, None], 1), np.ones(len(raw), int)).quality


def ratios(graphs, face):
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    requests = {
        name: core.compile_model(
            core.read_model(graph.SerializeToString()), "CPU", settings
        ).create_infer_request()
        for name, graph in graphs.items()
    }
    least = dict.fromkeys(requests, np.inf)
    for _ in range(60):
        for name, request in requests.items():
            began = time.perf_counter()
            request.infer([face])
            least[name] = min(least[name], time.perf_counter() - began)
    first = next(iter(least.values()))
    return {name: round(value / first, 2) for name, value in least.items()}


if __name__ == "__main__":
    main()
