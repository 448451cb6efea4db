"""Is dropping finished faces from a batch ever slower than carrying them along?

    python benchmarks/compaction.py [-o benchmarks/results/NAME.json]

The worst case for compaction: one segment is left. Per batch and number of faces that go on, in turn:
`keep` and the segment for those faces, against the segment for the whole batch.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from edge_fiqa import Bundle
from edge_fiqa.bench.environment import environment
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine, Tokens
from edge_fiqa.measure import synthetic_faces
from edge_fiqa.types import Segment

BATCHES = {2: (1,), 4: (1, 2, 3), 8: (1, 4, 5, 7), 16: (1, 8, 9, 15)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows, bundle = [], Bundle.open()
    for backend in ("ov", "ort"):
        with open_engine(bundle, backend, threads=1) as engine:
            for batch, counts in BATCHES.items():
                rows += [measure(engine, batch, kept, options.rounds) for kept in counts]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    result = {"what": "compaction against carrying on", "environment": environment(), "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def measure(engine: Engine, batch: int, kept: int, rounds: int) -> dict[str, object]:
    tokens, _ = engine.run(Segment(1, 1), synthetic_faces(batch))
    assert tokens is not None
    last, rows = Segment(2, 2, tail=True), np.arange(batch - kept, batch)
    keeps, compact, whole = [], [], []
    for turn in range(rounds + 3):
        keep_ms, kept_tokens = timed(lambda: engine.keep(tokens, rows))
        compact_ms, _ = timed(lambda few=kept_tokens: engine.run(last, few))
        whole_ms, _ = timed(lambda: engine.run(last, tokens))
        if turn >= 3:
            keeps.append(keep_ms)
            compact.append(keep_ms + compact_ms)
            whole.append(whole_ms)
    ratios = np.array(compact) / np.array(whole)
    return {
        "backend": engine.backend,
        "batch": batch,
        "go_on": kept,
        "keep_ms": round(float(np.median(keeps)), 4),
        "compacted_ms": round(float(np.median(compact)), 4),
        "whole_ms": round(float(np.median(whole)), 4),
        "ratio": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(q), 3) for q in np.quantile(ratios, (0.25, 0.75))],
    }


def timed(work) -> tuple[float, Tokens | None]:
    start = time.perf_counter()
    result = work()
    return 1e3 * (time.perf_counter() - start), result


if __name__ == "__main__":
    main()
