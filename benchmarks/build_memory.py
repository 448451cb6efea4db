"""What does `edge-fiqa build` of a ViT-S take: peak memory, processor time, wall time?

    python benchmarks/build_memory.py -o RESULT.json [--precision fp32 int8] [--depth 12]

Weights are seeded; INT8 takes its ranges from 64 faces of noise. Each build is a process of its own,
with an empty cache, as for whoever builds once. Wall time means nothing where other things run.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
from common import new_result, noise_weights, parser, write_result
from safetensors.numpy import save_file

from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.types import VitConfig

FACES = 64


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--precision", nargs="+", default=["fp32", "int8"], help="both")
    arguments.add_argument("--depth", type=int, default=12, help="blocks (12)")
    options = arguments.parse_args()
    result = new_result(__doc__) | {"depth": options.depth, "builds": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, options.depth)
        for precision in options.precision:
            row = measured(folder, precision)
            print(*row.values(), flush=True)
            result["builds"].append(row)
    write_result(result, options.output)


def write_inputs(folder: Path, depth: int) -> None:
    config = VitConfig(mode="token", width=512, depth=depth, heads=8)
    save_file(noise_weights(config), str(folder / "model.safetensors"), {"heads": "8"})
    (folder / "faces").mkdir()
    for number, face in enumerate(synthetic_faces(FACES)):
        cv2.imwrite(str(folder / f"faces/{number:02d}.png"), face[..., ::-1])


def measured(folder: Path, precision: str) -> dict:
    """One build, and what the system says that it took."""
    command = [sys.executable, "-m", "edge_fiqa", "build", str(folder / "model.safetensors")]
    command += ["-o", str(folder / f"bundle-{precision}"), "--precision", precision]
    command += ["--accept-imprecise"]
    if precision == "int8":
        command += ["--calibration-images", str(folder / "faces")]
    environment = {**os.environ, "EDGE_FIQA_CACHE": str(folder / f"cache-{precision}")}
    start_s = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, environment)
    _, status, usage = os.wait4(child, 0)
    return {
        "precision": precision,
        "status": os.waitstatus_to_exitcode(status),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "wall_s": round(time.perf_counter() - start_s, 1),
    }


if __name__ == "__main__":
    main()
