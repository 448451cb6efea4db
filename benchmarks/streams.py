"""How to spend the cores on many faces: engines side by side, threads in each, faces per batch.

    python benchmarks/streams.py [-o benchmarks/results/NAME.json]

Faces/s of the engines alone with the default model at full depth; every row once per round.
"""

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np

from edge_fiqa import Bundle
from edge_fiqa.bench.environment import environment
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.measure import synthetic_faces
from edge_fiqa.route import route_to

FACES = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    bundle, faces = Bundle.open(), synthetic_faces(64)
    rows = []
    for backend in ("ov", "ort"):
        for engines, threads in ((1, 2), (2, 1)):
            opened = [open_engine(bundle, backend, threads) for _ in range(engines)]
            rows += [
                {
                    "backend": backend,
                    "engines": engines,
                    "threads": threads,
                    "batch": batch,
                    "in_steps": steps,
                }
                | {"opened": opened, "rates": []}
                for batch in (1, 8, 32)
                for steps in (False, True)
            ]
    for turn in range(options.rounds + 1):
        for row in rows:
            found = rate(row["opened"], faces, row["batch"], row["in_steps"])
            if turn:
                row["rates"].append(found)
    for row in rows:
        del row["opened"]
        rates = row.pop("rates")
        row["faces_per_s"] = round(float(np.median(rates)), 1)
        row["range"] = [round(min(rates), 1), round(max(rates), 1)]
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    result = {"what": "faces/s of engines alone", "environment": environment(), "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def rate(engines: list[Engine], faces: np.ndarray, batch: int, in_steps: bool) -> float:
    """Faces/s of all engines together, each in a thread of its own."""

    def work(engine: Engine) -> None:
        steps = route_to(engine.segments, engine.config.depth, in_steps=in_steps)
        for start in range(0, FACES // len(engines), batch):
            at = start % len(faces)
            x = faces[at : at + batch]
            for segment in steps:
                x, _ = engine.run(segment, x)

    threads = [threading.Thread(target=work, args=(engine,)) for engine in engines]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return FACES / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
