"""Do the warnings catch real mistakes, and stay silent on clean faces?

    python benchmarks/input_warnings.py DATA -o RESULT.json

The reference is that of the calibration split, as the shipped models carry it. Windows of 200 faces are
drawn from the test split, whose persons are others. A picture is written beside the result.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa import Scorer
from edge_fiqa.images import decode
from edge_fiqa.monitor import Monitor
from edge_fiqa.policy import Fixed

SETS = ("lfw", "celeba10k", "orl")
CODES = ("colour_order", "grey", "tight", "loose", "unaligned", "drift")


def cut(scale: float):
    def change(face, rng):
        return warp(face, cv2.getRotationMatrix2D((55.5, 55.5), 0, scale))

    return change


def warp(face, matrix):
    return cv2.warpAffine(face, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT_101)


def unaligned(face, rng):
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), rng.uniform(-20, 20), rng.uniform(0.75, 1.25))
    matrix[:, 2] += rng.uniform(-12, 12, 2)
    return warp(face, matrix)


def jpeg(face, rng):
    return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 15])[1], 1)


STREAMS = {
    "clean": lambda face, rng: face,
    "BGR as RGB": lambda face, rng: np.ascontiguousarray(face[..., ::-1]),
    "grey": lambda face, rng: cv2.cvtColor(
        cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB
    ),
    "tight, 1.25x": cut(1.25),
    "tight, 1.1x": cut(1.1),
    "loose, 0.8x": cut(0.8),
    "loose, 0.9x": cut(0.9),
    "not aligned": unaligned,
    "dark, gamma 2.2": lambda face, rng: (255 * (face / 255.0) ** 2.2).astype(np.uint8),
    "over-exposed, 2x": lambda face, rng: np.clip(2 * face.astype(int), 0, 255).astype(np.uint8),
    "out of focus, sigma 2": lambda face, rng: cv2.GaussianBlur(face, (0, 0), 2),
    "out of focus, sigma 1": lambda face, rng: cv2.GaussianBlur(face, (0, 0), 1),
    "JPEG 15": jpeg,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default="nano")
    parser.add_argument("--faces", type=int, default=600, help="of each set (600)")
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with (options.data / "splits/test.csv").open(newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    found: dict = {}
    with Scorer.open(options.bundle) as scorer:
        reference = scorer.calibration.reference
        scorer.prepare([Fixed(4)])
        for name in SETS:
            paths = [row["path"] for row in listed if row["dataset"] == name]
            chosen = np.linspace(0, len(paths) - 1, min(options.faces, len(paths))).astype(int)
            faces = [decode(options.data / paths[i]) for i in chosen]
            for stream, change in STREAMS.items():
                rng = np.random.default_rng(0)
                changed = [change(face, rng) for face in faces]
                judged = scorer.assess(np.stack(changed), [Fixed(4)])
                quality = scorer.estimator.judge(judged.score, judged.depth).quality
                found[f"{name}: {stream}"] = windows(
                    reference, changed, quality.tolist(), options.windows
                )
                print(name, stream, found[f"{name}: {stream}"], flush=True)
    monitor, start = Monitor(reference), time.perf_counter()
    for face in faces:
        monitor.see(face, 50)
    result = {
        "window": 200,
        "windows": options.windows,
        "us_per_face_looked_at": round(1e6 * (time.perf_counter() - start) / len(faces), 1),
        "share of windows by code": found,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        plot(found, options.output.with_suffix(".png"))


def windows(reference, faces, quality, count) -> dict[str, float]:
    """Share of windows with each finding; a window is the merger of the monitors of its faces."""
    single = []
    for face, value in zip(faces, quality, strict=True):
        single.append(Monitor(reference))
        single[-1].see(face, value)
    rng, counts = np.random.default_rng(1), dict.fromkeys((*CODES, "any"), 0)
    for _ in range(count):
        window = Monitor(reference)
        for row in rng.permutation(len(faces))[:200]:
            window.merge(single[row])
        codes = {finding.code for finding in window.findings()}
        for code in codes:
            counts[code] += 1
        counts["any"] += bool(codes)
    return {code: round(number / count, 4) for code, number in counts.items() if number}


def plot(found: dict, target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    for place, (name, axes) in enumerate(
        zip(SETS, figure.subplots(1, 3, sharey=True), strict=True)
    ):
        shares = np.array(
            [[found[f"{name}: {stream}"].get(code, 0) for code in CODES] for stream in STREAMS]
        )
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (y, x), share in np.ndenumerate(shares):
            if share:
                colour = "white" if share > 0.5 else "black"
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color=colour)
        axes.set(
            title=name,
            xticks=range(len(CODES)),
            xticklabels=[code.replace("_", "\n") for code in CODES],
            yticks=range(len(STREAMS)),
        )
        axes.tick_params(axis="x", rotation=45)
        if not place:
            axes.set_yticklabels(list(STREAMS))
    figure.suptitle("Windows of 200 test faces with a warning, %")
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    main()
