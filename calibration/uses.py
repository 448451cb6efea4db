"""Faces of three kinds of use, and pairs of them, to say what the shipped models' gates mean.

    python calibration/uses.py DATA/splits/calibration.csv DATA OUT --pairs DATA/pairs/*calibration.csv

The faces are the photographs of a split. `portrait` are these as they are. The other two are made from
them by degradations of the training's table, each with a strength drawn evenly from 0 to the one below,
seeded by the face's number: no public set of door or street cameras may be shipped with its numbers.
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
import torch

from edge_fiqa.faces.images import decode
from edge_fiqa.training.degradations import degrade

USES = {
    "portrait": {},
    # Indoors, a person stands still before a camera: 17 pixels between the eyes at the worst.
    "access control": {"exposure": 0.25, "defocus": 0.2, "downsample": 0.3, "jpeg": 0.4},
    # Outdoors, a person walks past: 7 pixels between the eyes at the worst.
    "surveillance": {
        "misalignment": 0.2,
        "exposure": 0.3,
        "motion": 0.35,
        "downsample": 0.65,
        "noise": 0.3,
        "jpeg": 0.6,
    },
}
"""Kind of use -> degradation -> largest strength, in the order in which a camera applies them."""


def degraded(face, use, number):
    rng = np.random.default_rng([list(USES).index(use), number])
    for name, most in USES[use].items():
        face = degrade(face, name, most * rng.random(), seed=int(rng.integers(2**31)))
    return face


def write_pairs(lists, name_of, target):
    """Pairs of the lists whose faces are here, by their new names."""
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path_a", "path_b", "same"])
        for path in lists:
            with path.open(newline="", encoding="utf-8") as pairs:
                for row in csv.DictReader(pairs):
                    if row["path_a"] in name_of and row["path_b"] in name_of:
                        writer.writerow(
                            [name_of[row["path_a"]], name_of[row["path_b"]], row["same"]]
                        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    with options.split.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    torch.set_num_threads(1)  # pictures so small are faster without more
    name_of = {}
    for number, row in enumerate(rows):
        face = decode(options.root / row["path"])
        name_of[row["path"]] = f"{row['dataset']}-{row['identity']}/{number:05}.png"
        for use in USES:
            target = options.out / use / name_of[row["path"]]
            if target.exists():  # of an earlier run that was stopped
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            picture = cv2.cvtColor(degraded(face, use, number), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(target), picture)
    write_pairs(options.pairs, name_of, options.out / "pairs.csv")
    print(f"{len(rows)} faces of each of {', '.join(USES)} in {options.out}")


if __name__ == "__main__":
    main()
