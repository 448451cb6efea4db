"""One part of on_gpu.sh has ended: its JSON, or what is known of its failure, becomes a file.

    python benchmarks/on_gpu_part.py FOLDER NAME STATUS

Exit status 1 where the part failed. What a test run prints last is no JSON: its last lines are kept.
"""

import argparse
import json
import sys
from pathlib import Path

LINES = 20


def main(folder: Path, name: str, status: int) -> int:
    printed = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    errors = (folder / f"{name}.err").read_text(encoding="utf-8", errors="replace").splitlines()
    result = {"part": name, "status": status, "result": of_last_line(printed)}
    if status or result["result"] is None:
        result |= {"printed": printed[-LINES:], "errors": errors[-LINES:]}
    text = json.dumps(result, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return int(status != 0)


def of_last_line(printed: list[str]) -> object:
    try:
        return json.loads(printed[-1])
    except (IndexError, json.JSONDecodeError):
        return None


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("name")
    arguments.add_argument("status", type=int)
    options = arguments.parse_args()
    sys.exit(main(options.folder, options.name, options.status))
