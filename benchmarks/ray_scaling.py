"""What `edge-fiqa score --on ray` costs beside `edge-fiqa score`, and what its driver holds in memory.

python benchmarks/ray_scaling.py FACES.jpg... -o benchmarks/results/DATE-MACHINE-ray_scaling.json

Speed: `score` alone with one and two engines, `--on ray` with one and two workers, in turn, each turn
over the same pictures. The steady state is the slope between the first and the last output that is
written, start-up the time before the first. Memory: the largest resident size of the driver, over a
small and a large set to exit 1.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from common import new_result, parser, write_result

PER_FILE = 250
WAYS = {
    "score, 1 engine": ["--jobs", "1", "--threads", "1"],
    "ray, 1 worker": ["--jobs", "1", "--on", "ray", "--per-file", str(PER_FILE)],
    "score, 2 engines": ["--jobs", "2"],
    "ray, 2 workers": ["--jobs", "2", "--on", "ray", "--per-file", str(PER_FILE)],
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("pictures", nargs="+", type=Path, help="crops that are used over and over")
    options.add_argument("--faces", type=int, default=20_000)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--memory", type=int, nargs=2, default=(10_000, 200_000))
    chosen = options.parse_args()
    result = new_result(__doc__)
    result["load_before"] = os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = make_pictures(folder / "speed", chosen.pictures, chosen.faces)
        result["faces"], result["speed"] = chosen.faces, speed(folder, pictures, chosen.turns)
        result["memory"] = [
            memory(folder, make_pictures(folder / str(size), chosen.pictures, size), size)
            for size in chosen.memory
        ]
    result["load_after"] = os.getloadavg()
    write_result(result, chosen.output)


def make_pictures(folder: Path, originals: list[Path], number: int) -> Path:
    """So many names of a few files: hard links, a thousand in each folder."""
    copies = [folder.parent / f"{k}{path.suffix}" for k, path in enumerate(originals)]
    for copy, path in zip(copies, originals, strict=True):
        if not copy.exists():
            shutil.copy(path, copy)
    for k in range(number):
        place = folder / f"{k // 1000:04}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(copies[k % len(copies)], place / f"{k:07}{copies[k % len(copies)].suffix}")
    return folder


def speed(folder: Path, pictures: Path, turns: int) -> dict:
    rows: dict[str, list[dict]] = {way: [] for way in WAYS}
    for turn in range(turns):
        for way, flags in WAYS.items():
            output = folder / f"out{turn}{len(rows[way])}{abs(hash(way))}"
            row = measured(pictures, output, flags)
            row["load"] = os.getloadavg()[0]
            rows[way].append(row)
            said = f"{row['faces_per_s']:8.0f} faces/s, first after {row['first_s']:.1f} s"
            print(f"{way:18} {said}", flush=True)
    alone, ray_1, two, ray_2 = rows.values()
    return {
        "ways": rows,
        "ray_over_score_1": ratio(ray_1, alone),
        "ray_over_score_2": ratio(ray_2, two),
        "ray_2_over_ray_1": ratio(ray_2, ray_1),
        "score_2_over_score_1": ratio(two, alone),
    }


def ratio(above: list[dict], below: list[dict]) -> float:
    """The median over turns: both of one turn met the same load."""
    turns = zip(above, below, strict=True)
    return round(statistics.median(a["faces_per_s"] / b["faces_per_s"] for a, b in turns), 3)


def measured(pictures: Path, output: Path, flags: list[str]) -> dict:
    """Steady faces/s, seconds to the first output and to the end, largest size of the driver."""
    on_ray = "ray" in flags
    target = output if on_ray else output.with_suffix(".ndjson")
    command = [sys.executable, "-m", "edge_fiqa", "score", str(pictures), "-o", str(target)]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--quiet", *flags])
    driver, peak, points = psutil.Process(process.pid), 0, []
    while process.poll() is None:
        try:
            peak = max(peak, driver.memory_info().rss)
        except psutil.Error:
            break
        done = written(target, on_ray)
        if done and (not points or done != points[-1][1]):
            points.append((time.monotonic() - began, done))
        time.sleep(0.2)
    process.wait()
    assert process.returncode in (0, 1), process.returncode
    (first_s, first), (last_s, last) = points[0], points[-1]
    faces = (last - first) / last * number_of(pictures)
    return {
        "faces_per_s": faces / max(last_s - first_s, 1e-9),
        "first_s": round(first_s, 2),
        "whole_s": round(time.monotonic() - began, 2),
        "driver_mb": round(peak / 1e6),
    }


def written(target: Path, on_ray: bool) -> int:
    """Parts, or bytes of the record file."""
    if on_ray:
        return len(list(target.glob("*.parquet"))) if target.is_dir() else 0
    return target.stat().st_size if target.exists() else 0


def number_of(pictures: Path) -> int:
    return sum(1 for _ in pictures.rglob("*.*"))


def memory(folder: Path, pictures: Path, size: int) -> dict:
    flags = ["--jobs", "2", "--on", "ray", "--exit", "1"]
    row = measured(pictures, folder / f"memory{size}", flags)
    row.pop("faces_per_s")
    print(f"{size} faces: driver {row['driver_mb']} MB", flush=True)
    return {"faces": size, **row}


if __name__ == "__main__":
    main()
