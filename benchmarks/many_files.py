"""What `edge-fiqa score` needs for very many files, and a Scorer for many lives.

    python benchmarks/many_files.py --files 200000      links to one picture, scored at exit 1
    python benchmarks/many_files.py --lives 100         a Scorer opened, used and closed so often

The last line on stdout is the result as JSON. Memory is the resident set; descriptors and threads are
those of the process, as /proc shows them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2

from edge_fiqa import Scorer
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.stored_rows import read_rows


def resident_mb(pid: int | str = "self") -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def many_files(count: int, form: str) -> dict[str, object]:
    """Scores `count` links in folders of 1,000; the second run finds all of them there."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cv2.imwrite(str(root / "one.png"), synthetic_faces(1)[0])
        for number in range(count):
            folder = root / "faces" / f"{number // 1000:04}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:07}.png").symlink_to(root / "one.png")
        out = root / f"out.{form}"
        command = [sys.executable, "-m", "edge_fiqa", "score", str(root / "faces"), "--exit", "1"]
        command += ["--output", str(out), "--quiet"]
        runs = [watched(command) for _ in range(2)]
        return {"files": count, "form": form, "runs": runs, **checked(out, form, count)}


def watched(command: list[str]) -> dict[str, float]:
    """Status, seconds, and the memory at three moments and at its highest."""
    began, seen = time.monotonic(), []
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            seen.append(resident_mb(process.pid))
        except (OSError, IndexError):
            break
        time.sleep(0.5)
    quarter = max(1, len(seen) // 4)
    run = {
        "status": process.wait(),
        "seconds": round(time.monotonic() - began, 1),
        "mb_at_a_quarter": round(seen[quarter - 1]),
        "mb_at_the_end": round(seen[-1]),
        "mb_highest": round(max(seen)),
    }
    print(run, file=sys.stderr, flush=True)  # minutes of work, whatever comes after
    return run


def checked(out: Path, form: str, count: int) -> dict[str, object]:
    with out.open("rb") as file:
        sources = [row.source for row in read_rows(file, "csv" if form == "csv" else "ndjson")]
    return {
        "rows": len(sources),
        "each_once_in_order": sources == sorted(set(sources)),
        "of": count,
    }


def lives(count: int) -> dict[str, object]:
    """Opens, scores with and closes a Scorer `count` times."""
    face, rows = synthetic_faces(1), []
    for number in range(count):
        with Scorer.open(threads=1) as scorer:
            scorer.score(list(face), [Fixed(1)])
        del scorer
        gc.collect()
        if number in (0, count // 4, count // 2, count - 1):
            rows.append(
                {
                    "after": number + 1,
                    "mb": round(resident_mb()),
                    "descriptors": entries("/proc/self/fd"),
                    "threads": entries("/proc/self/task"),
                    "python_threads": threading.active_count(),
                }
            )
    return {"lives": count, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int)
    parser.add_argument("--form", choices=("ndjson", "csv"), default="ndjson")
    parser.add_argument("--lives", type=int)
    options = parser.parse_args()
    result: dict[str, object] = {}
    if options.files:
        result = many_files(options.files, options.form)
    if options.lives:
        result |= lives(options.lives)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
