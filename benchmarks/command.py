"""The command as a user meets it: start-up, memory, and a folder of 2,000 faces.

    python benchmarks/command.py FACES [-o benchmarks/results/NAME.json]

FACES is a folder of aligned faces. Whole processes are timed from outside; peak memory is the
operating system's figure. The engine's own rate is measured between two runs of the folder. The
folder is scored to full depth, and with `--policy gate --gate 50`.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from common import new_result, parser, write_result

from edge_fiqa import Scorer
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.paths import expand

COMMAND = [sys.executable, "-m", "edge_fiqa", "score"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("faces", type=Path)
    arguments.add_argument("-n", type=int, default=2000, help="faces in the folder run (2000)")
    options = arguments.parse_args()
    result = new_result(__doc__)
    paths = list(expand([str(options.faces)], sys.stdin))[: options.n]
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "faces", Path(place) / "cache"
        folder.mkdir()
        for number, path in enumerate(paths):
            (folder / f"{number:05}{path.suffix}").write_bytes(path.read_bytes())
        environ = {**os.environ, "EDGE_FIQA_CACHE": str(cache)}
        one = [*COMMAND, str(next(folder.iterdir()))]
        first = timed(one, environ)
        again = [timed(one, environ) for _ in range(9)]
        whole = [*COMMAND, str(folder), "--output", str(Path(place) / "o.ndjson"), "--overwrite"]
        gate = [*whole, "--policy", "gate", "--gate", "50"]
        for command in (whole, gate):
            timed(command, environ)
        rounds = []
        faces = np.stack([decode(path) for path in paths])
        for _ in range(5):
            run, gated = timed(whole, environ), timed(gate, environ)
            start = statistics.median(row["s"] for row in again)
            rounds.append(
                {
                    "faces_per_s": len(paths) / run["s"],
                    "without_start": len(paths) / (run["s"] - start),
                    "gate_faces_per_s": len(paths) / gated["s"],
                    "engine": engine_rate(faces),
                    "peak_mb": run["peak_mb"],
                }
            )
    share = [row["without_start"] / row["engine"] for row in rounds]
    result |= {
        "one_face": {
            "first_start_s": round(first["s"], 3),
            "second_start_s": round(statistics.median(row["s"] for row in again), 3),
            "second_start_s_range": [round(f(row["s"] for row in again), 3) for f in (min, max)],
            "peak_mb": round(statistics.median(row["peak_mb"] for row in again), 1),
        },
        "folder": {
            "faces": len(paths),
            **{k: round(statistics.median(r[k] for r in rounds), 1) for k in rounds[0]},
            "share_of_engine": round(statistics.median(share), 3),
            "share_of_engine_range": [round(min(share), 3), round(max(share), 3)],
        },
    }
    write_result(result, options.output)
    print(json.dumps(result))


def timed(command: list[str], environ: dict[str, str]) -> dict[str, float]:
    """Wall seconds and peak resident megabytes of one process."""
    start = time.perf_counter()
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    child = os.posix_spawn(command[0], command, environ, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return {"s": time.perf_counter() - start, "peak_mb": usage.ru_maxrss / 1024}


def engine_rate(faces: np.ndarray) -> float:
    """Faces/s of the engines alone: decoded faces, one thread per core, no records."""
    cores = len(os.sched_getaffinity(0))
    scorers = [Scorer.open(threads=1) for _ in range(cores)]
    for scorer in scorers:
        scorer.prepare()

    def work(scorer: Scorer, rows: range) -> None:
        whole = scorer.controller.route(scorer.controller.exits[-1], ())[0]
        for row in rows:
            scorer.engine.run(whole, faces[row : row + 1])

    threads = [
        threading.Thread(target=work, args=(scorer, range(k, len(faces), cores)))
        for k, scorer in enumerate(scorers)
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(faces) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
