"""What one more camera costs a gateway: core seconds a second, and memory, in empty to busy scenes.

    python benchmarks/gateway_scale.py DATA --scenes FOLDER --runs quiet:1 quiet:4 quiet:16 [-o FILE]
    python benchmarks/gateway_scale.py DATA --scenes FOLDER --runs quiet:4 --before

Each run is `gateway_cameras.py --kind KIND --cameras N`, one after the other. --before: each run a
second time as before the detector had a motion gate and OpenVINO; the ratios count on a busy machine.
Where a kind ran with several numbers of cameras, the slope of its memory is that of one camera.
"""

import argparse
import json
import tempfile
from pathlib import Path

import gateway_cameras
import numpy as np
from common import add_data, new_result, parser, write_result
from gateway_substreams import SUBSTREAMS, write_substreams

KEPT = (
    "kind", "before", "cameras", "cpu_cores", "cpu_cores_per_camera", "core_ms_per_frame",
    "rss_mb", "late_share", "dropped_frames_share", "machine_load",
)  # fmt: skip


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--scenes", type=Path, required=True, help="kept for the next call")
    arguments.add_argument("--runs", nargs="+", type=kind_and_cameras, required=True)
    arguments.add_argument("--seconds", type=float, default=45)
    arguments.add_argument("--before", action="store_true")
    arguments.add_argument("--good-interval", type=float, default=0, help="as there (0)")
    options = arguments.parse_args()
    result, rows = new_result(__doc__), []
    options.scenes.mkdir(parents=True, exist_ok=True)
    for kind in {kind for kind, _ in options.runs}:
        write_substreams(options.data, options.scenes, kind)
    for kind, cameras in options.runs:
        for before in (True, False) if options.before else (False,):
            rows.append(measured(options, kind, cameras, before))
            print(json.dumps({key: rows[-1][key] for key in KEPT}), flush=True)
    result |= {
        "seconds": options.seconds,
        "memory_mb_per_camera": memory_slopes(rows),
        "cost_of_before": cost_ratios(rows),
        "rows": rows,
    }
    write_result(result, options.output)
    print(json.dumps({key: result[key] for key in ("memory_mb_per_camera", "cost_of_before")}))


def kind_and_cameras(text: str) -> tuple[str, int]:
    """`quiet:16` -> ("quiet", 16)."""
    kind, _, cameras = text.partition(":")
    if kind not in SUBSTREAMS or not cameras.isdecimal() or not int(cameras):
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND:CAMERAS, {'|'.join(SUBSTREAMS)}")
    return kind, int(cameras)


def measured(options: argparse.Namespace, kind: str, cameras: int, before: bool) -> dict:
    of_run = argparse.Namespace(
        data=options.data, cameras=cameras, seconds=options.seconds, kind=kind, before=before,
        longest_side=640, faults=False, scenes=options.scenes, good_interval=options.good_interval,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        row = gateway_cameras.run(of_run, Path(folder))
    core_ms = 1000 * row["cpu_cores"] * options.seconds / max(1.0, row["frames_looked_at"])
    kept = {key: value for key, value in row.items() if key not in ("what", "environment", "log")}
    return kept | {"core_ms_per_frame": round(core_ms, 3)}


def memory_slopes(rows: list[dict]) -> dict[str, float]:
    """MB that one more camera of a kind takes: the line through all its runs."""
    slopes = {}
    for kind in SUBSTREAMS:
        points = [
            (r["cameras"], r["rss_mb"]["most"])
            for r in rows
            if r["kind"] == kind and not r["before"]
        ]
        if len({cameras for cameras, _ in points}) > 1:
            slopes[kind] = round(float(np.polyfit(*zip(*points, strict=True), 1)[0]), 1)
    return slopes


def cost_ratios(rows: list[dict]) -> dict[str, float]:
    """Core milliseconds of a frame that was looked at, as a share of those before.

    On a machine that cannot keep up, each way drops another share of the frames.
    """
    cores = {(r["kind"], r["cameras"], r["before"]): r["core_ms_per_frame"] for r in rows}
    return {
        f"{kind}:{cameras}": round(cores[kind, cameras, False] / value, 3)
        for (kind, cameras, before), value in cores.items()
        if before
    }


if __name__ == "__main__":
    main()
