"""TensorRT: who should decide that a batch stops, the host or the device?

    python benchmarks/device_exit.py [--bundle nano] [--faces DIR] [-o benchmarks/results/NAME.json]

One engine, one process, in turn: the same batches under the same gate, decided by the host after every
segment, and by a conditional CUDA graph. ms is the wall time of `Controller.assess`. Mixes: every face
stops at the first exit; half of those that are left stop at each; none stops early; and, for a folder
of aligned faces and a calibrated bundle, what its gate does with them. Ends with one line, and not with
zero, where there is no GPU or the device's way is refused.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_fiqa import Bundle, EdgeFiqaError, Gate, Scorer
from edge_fiqa.bench.environment import environment
from edge_fiqa.bench.timing import Effort, in_rounds
from edge_fiqa.calibration.artefact import Depth, Rule
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.scale import Sigmoid
from edge_fiqa.controller import Controller
from edge_fiqa.engines import open_engine
from edge_fiqa.fusion import fuse
from edge_fiqa.images import decode
from edge_fiqa.measure import synthetic_faces
from edge_fiqa.sources import expand
from edge_fiqa.types import Array, Bytes

SHARES = {
    "all at the first exit": 1.0,
    "half of the rest at each": 0.5,
    "none before the last": 0.0,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="nano")
    parser.add_argument("--faces", type=Path, help="a folder of aligned faces (made-up ones)")
    parser.add_argument("--count", type=int, default=64, help="faces (64)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        rows, device = measure(options)
    except EdgeFiqaError as exc:
        sys.exit(f"device_exit: {exc}")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    what = "exits decided by the host against exits decided on the device"
    result = {"what": what, "device": device, "environment": environment(), "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def measure(options: argparse.Namespace) -> tuple[list[dict[str, object]], str]:
    bundle = Bundle.open(options.bundle)
    faces = synthetic_faces(options.count)
    if options.faces is not None:
        paths = list(expand([str(options.faces)], sys.stdin))[: options.count]
        faces = np.stack([decode(path) for path in paths])
    with open_engine(bundle, "trt") as engine:
        controller, trails = Controller(engine), []
        for start in range(0, len(faces), engine.max_batch):
            trails.append(controller.assess(faces[start : start + engine.max_batch]).trail)
        trail, exits = np.concatenate(trails), controller.exits
        gates = {name: gate_for(trail, exits, share) for name, share in SHARES.items()}
        if options.faces is not None and bundle.calibration is not None:
            gates["the bundle's gate"] = Scorer(bundle, engine).gate_policy()
        rows = []
        for mix, gate in gates.items():
            for batch in options.batch:
                rows.append({"mix": mix, **compare(engine, faces, gate, batch, options.rounds)})
        return rows, engine.device


def gate_for(trail: Array, exits: Sequence[int], share: float) -> Gate:
    """A gate that stops this share of the faces that are left at each exit. trail (N, E)."""
    line = float(np.median(fuse(trail, exits[-1])))
    ends, left, spreads = (-1e9, 1e9), np.arange(len(trail)), np.zeros(trail.shape[1])
    for depth in exits[:-1]:
        away = np.abs(fuse(trail[left], depth) - line)
        if share in (0.0, 1.0):
            spreads[depth - 1] = 1e6 * (1 - share)
        elif len(left):
            spreads[depth - 1] = np.quantile(away, 1 - share)
        left = left[away <= spreads[depth - 1]]
    depths = tuple(Depth(Line(ends, ends), Line(ends, (s, s)), -1, 1) for s in spreads.tolist())
    estimator = Estimator(Rule(Sigmoid(line, 1e-6), depths, ()))
    return Gate(estimator, tuple(exits), "FW", 50, 1.0, 0.05, 0.95)


def compare(engine, faces: Bytes, gate: Gate, batch: int, rounds: int) -> dict[str, object]:
    """Host and device over the same batches of this size; they must agree."""
    controller = Controller(engine, estimator=gate.estimator)
    batches = [faces[i : i + batch] for i in range(0, len(faces) - batch + 1, batch)]

    def decided_on(where):
        engine.decide_on(where)
        found = [controller.assess(one, [gate]) for one in batches]
        if where == "device" and engine.run_ahead is None:
            sys.exit("device_exit: the device's way was refused (the line above says why)")
        return found

    host = decided_on("host")
    start = time.perf_counter()
    decided_on("device")  # builds the graph, or not
    first_ms = 1e3 * (time.perf_counter() - start)
    device = decided_on("device")
    times = in_rounds(
        {where: lambda where=where: decided_on(where) for where in ("host", "device")},
        Effort(rounds=rounds, turn_ms=1.0),
    )
    per_batch = {where: found.rounds / len(batches) for where, found in times.items()}
    ratios = per_batch["device"] / per_batch["host"]
    depth = np.concatenate([found.depth for found in device])
    return {
        "batch": batch,
        "mean_exit": round(float(depth.mean()), 2),
        "host_ms": round(float(np.median(per_batch["host"])), 4),
        "device_ms": round(float(np.median(per_batch["device"])), 4),
        "ratio": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(q), 3) for q in np.quantile(ratios, (0.25, 0.75))],
        "first_round_ms": round(first_ms, 1),
        "same_exits": all(
            np.array_equal(a.depth, b.depth) for a, b in zip(host, device, strict=True)
        ),
        "largest_difference": float(
            max(np.abs(a.score - b.score).max() for a, b in zip(host, device, strict=True))
        ),
    }


if __name__ == "__main__":
    main()
