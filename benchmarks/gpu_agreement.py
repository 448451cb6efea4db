"""Scores of every exit by torch on CUDA, and by ONNX Runtime and OpenVINO, beside torch on the CPU.

    python benchmarks/gpu_agreement.py --model nano small
    python benchmarks/gpu_agreement.py --rehearse              torch on the CPU, as if it were CUDA

Fails where a difference is larger than the precision allows. An engine that is absent is said to be.
"""

import json
import sys

import gpu_torch_ways as ways
import numpy as np
from common import SHIPPED, new_result, parser

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.torch_.cuda_engine import TorchCuda
from edge_fiqa.engines.torch_.device import find_cuda
from edge_fiqa.engines.torch_.network import DTYPES
from edge_fiqa.errors import BackendMissing
from edge_fiqa.exits.route import segments_for
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.model.weights import load_weights
from edge_fiqa.types import Array

LIMIT = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 8e-2, "int8": 0.25}
"""Largest difference of a raw score, as the engines' contract has it."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--model", nargs="+", choices=("nano", "small"), default=["nano"])
    arguments.add_argument("--rehearse", action="store_true")
    options = arguments.parse_args()
    faces = synthetic_faces(4 if options.rehearse else 64)
    rows = [row for model in options.model for row in compare(model, faces, options.rehearse)]
    for row in rows:
        sys.stderr.write(f"{row}\n")
    result = new_result(__doc__) | {
        "faces": len(faces),
        "rehearsal": options.rehearse,
        "rows": rows,
    }
    print(json.dumps(result))
    sys.exit(any(row["right"] is False for row in rows))


def compare(model: str, faces: np.ndarray, rehearse: bool) -> list[dict]:
    weights = load_weights(SHIPPED / f"{model}.safetensors")
    device = ways.Rehearsal() if rehearse else find_cuda()
    segments = segments_for(range(1, weights.config.depth + 1), tails=True)
    expected = ways.reference(weights, "fp32", ways.Rehearsal())(faces)
    rows = []
    for precision in DTYPES:
        if device is None:
            rows.append(absent(model, "pt on CUDA", precision, "torch finds no CUDA device"))
            continue
        with TorchCuda(weights, segments, precision, device) as engine:
            rows.append(judged(model, "pt on CUDA", precision, all_exits(engine, faces), expected))
    for backend in ("ort", "ov"):
        try:
            with open_engine(Bundle.open(model), backend) as engine:
                scores = all_exits(engine, faces)
            rows.append(judged(model, backend, "int8", scores, expected))
        except BackendMissing as exc:
            rows.append(absent(model, backend, "int8", str(exc)))
    return rows


def judged(model: str, backend: str, precision: str, scores: Array, expected: Array) -> dict:
    exits = scores.shape[1]
    worst = float(np.abs(scores - expected[:, :exits]).max())
    right = bool(worst <= LIMIT[precision])  # False for NaN as well
    return {
        "model": model, "backend": backend, "precision": precision,
        "largest difference": worst, "limit": LIMIT[precision], "right": right,
    }  # fmt: skip


def absent(model: str, backend: str, precision: str, reason: str) -> dict:
    return {
        "model": model, "backend": backend, "precision": precision, "right": None, "absent": reason,
    }  # fmt: skip


if __name__ == "__main__":
    main()
