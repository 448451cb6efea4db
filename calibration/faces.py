"""Faces to calibrate on: aligned crops of a split, each as it is and once degraded at random.

    python calibration/faces.py DATA/splits/calibration.csv DATA OUT [--limit N]

One folder a person, so that a calibration holds whole persons out.
INT8 ranges must cover bad faces too, and the 0-100 scale needs them: on clean faces alone an average
camera face would score 0. Degradations are those of training, seeded by the face's number.
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.faces.images import decode
from edge_fiqa.training.degradations.table import random_mixture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, help="faces taken from the split (all)")
    options = parser.parse_args()
    with options.split.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    limit = len(rows) if options.limit is None else min(options.limit, len(rows))
    chosen = np.linspace(0, len(rows) - 1, limit).astype(int)
    for number, index in enumerate(chosen):
        face = decode(options.root / rows[index]["path"])
        person = options.out / f"{rows[index]['dataset']}-{rows[index]['identity']}"
        person.mkdir(parents=True, exist_ok=True)
        worse = random_mixture(face, seed=7_000_000 + number).pixels
        for kind, image in (("clean", face), ("worse", worse)):
            target = person / f"{number:05}-{kind}.png"
            cv2.imwrite(str(target), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    print(f"{2 * len(chosen)} faces in {options.out}")


if __name__ == "__main__":
    main()
