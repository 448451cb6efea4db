"""What INT8 graphs cost and lose by what is rounded in them, and by what the engines make of them.

    python benchmarks/int8_ways.py FACES [-o RESULT.json]

FACES: of calibration/faces.py. Full depth as one segment, one thread, batch 1; ways run in turn.
Losses are of the raw score against float32 on other faces than those that gave the ranges.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edge_fiqa.bench.environment import environment
from edge_fiqa.bench.timing import Effort, in_rounds, median_interval
from edge_fiqa.build import build_bundle
from edge_fiqa.bundle import Bundle
from edge_fiqa.cli.faces import read_faces
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.model import quantise
from edge_fiqa.types import Array, Bytes, Segment

MODELS = Path(__file__).parents[1] / "edge_fiqa/models"
ALL = Segment(1, 12, True)
BEFORE = {"OpTypesToExcludeOutputQuantization": [], "DedicatedQDQPair": False}
MERGED = {"DedicatedQDQPair": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    faces = read_faces(options.faces, 1200, "int8_ways")
    rows, start = [], environment()
    for model in ("nano", "small"):
        with tempfile.TemporaryDirectory() as place:
            rows += measure(model, Path(place), faces, options.rounds)
    for row in rows:
        print(json.dumps(row))
    result = {"what": __doc__.splitlines()[0], "environment": start, "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(model: str, place: Path, faces, rounds: int) -> list[dict]:
    recipe = {"segments": "1", "threads": 1, "accept_imprecise": True, "range_faces": 256}
    layers = ("stem",) if model == "nano" else ("stem", "block1/proj")

    def build(name: str, **changes: object) -> Bundle:
        stated = BuildRecipe(**recipe, **({"precision": "int8", "float_layers": layers} | changes))
        file = MODELS / f"{model}.safetensors"
        return build_bundle(file, place / name, stated, faces=faces)

    exact = build("fp32", precision="fp32", float_layers=())
    now = build("now")
    with quantised(MERGED):
        merged = build("merged")
    with quantised(BEFORE):
        before = build("before")
    ways: dict[str, Engine] = {
        "OpenVINO, float32": open_engine(exact, "ov", 1),
        "OpenVINO, sums rounded, attention float32": attention(before, half=False),
        "OpenVINO, attention float32": attention(now, half=False),
        "OpenVINO": attention(now, half=True),
        "ONNX Runtime, float32": open_engine(exact, "ort", 1),
        "ONNX Runtime, sums rounded, one pair for q, k and v": open_engine(before, "ort", 1),
        "ONNX Runtime, one pair for q, k and v": open_engine(merged, "ort", 1),
        "ONNX Runtime": open_engine(now, "ort", 1),
    }
    scored = faces.crops[3::2]
    reference = scores(ways["OpenVINO, float32"], scored)
    runs: dict[str, Callable[[], object]] = {
        name: lambda engine=engine: engine.run(ALL, scored[:1]) for name, engine in ways.items()
    }
    times = in_rounds(runs, Effort(rounds, 60.0, 2))
    rows = []
    for name, engine in ways.items():
        base = times[f"{name.split(',')[0]}, float32"].rounds
        ratios = times[name].rounds / base
        low, high = median_interval(ratios)
        lost = np.abs(scores(engine, scored) - reference)
        rows.append(
            {
                "model": model,
                "way": name,
                "ms": round(float(np.median(times[name].rounds)), 3),
                "times_float32": [round(float(v), 3) for v in (np.median(ratios), low, high)],
                "largest_difference": [round(float(v), 4) for v in lost.max(0)[[0, 1, 3, 5, 11]]],
                "rms_over_spread": [
                    round(float(v), 4)
                    for v in (np.sqrt((lost**2).mean(0)) / reference.std(0))[[0, 1, 3, 5, 11]]
                ],
                "exits": [1, 2, 4, 6, 12],
            }
        )
    return rows


def attention(bundle: Bundle, half: bool) -> Engine:
    engine = open_engine(bundle, "ov", 1)
    engine._half_attention = half
    return engine


def scores(engine: Engine, faces: Bytes) -> Array:
    return np.concatenate([engine.run(ALL, face[None])[1] for face in faces])


@contextmanager
def quantised(options: dict):
    """onnxruntime's quantiser as it would be called with these options."""
    real = quantise.quantize_static

    def call(*arguments, extra_options, **stated):
        real(*arguments, extra_options=extra_options | options, **stated)

    quantise.quantize_static = call
    try:
        yield
    finally:
        quantise.quantize_static = real


if __name__ == "__main__":
    main()
