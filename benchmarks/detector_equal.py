"""Whether the detector gives OpenCV's faces on every library.

    python benchmarks/detector_equal.py DATA [--files 500] [-o RESULT.json]

Faces of the data folder, enlarged to several sizes, every fifth in a row with three others. Compared
are boxes, points and scores with those of OpenCV's own FaceDetectorYN.
"""

import random

import cv2
import numpy as np
from common import add_data, new_result, parser, write_result

from edge_fiqa.engines.detector import NETWORKS
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.faces.images import decode

SETS = {"lfw": 0.4, "celeba5": 0.3, "celeba10k": 0.2, "orl": 0.1}
SIDES = (112, 150, 224, 320, 480)


def pictures(data, files):
    """(H, W, 3) uint8 RGB, at most 640 wide."""
    rng = random.Random(1)
    paths = [
        path
        for name, share in SETS.items()
        for path in rng.sample(sorted((data / "faces" / name).glob("*/*.jpg")), int(share * files))
    ]
    for number, path in enumerate(paths):
        side = rng.choice(SIDES)
        picture = cv2.resize(decode(path), (side, side))
        if number % 5 == 0:
            others = [decode(rng.choice(paths)) for _ in range(3)]
            widths = [side * rng.randint(60, 100) // 100 for _ in others]
            beside = [cv2.resize(o, (w, side)) for o, w in zip(others, widths, strict=True)]
            picture = np.hstack([picture, *beside])
        if picture.shape[1] > 640:
            height = round(picture.shape[0] * 640 / picture.shape[1])
            picture = cv2.resize(picture, (640, height))
        yield picture


def by_opencv(model, picture):
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(model), "", (width, height), 0.6)
    _, rows = detector.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return [] if rows is None else sorted(rows, key=lambda row: -row[2] * row[3])


def compare(model, backend, shown):
    yunet, row = YuNet(model, 0.6, backend=backend, threads=1), {"faces": 0, "other_counts": 0}
    worst = dict.fromkeys(("box_px", "points_px", "score"), 0.0)
    for picture in shown:
        expected, faces = by_opencv(model, picture), yunet.detect(picture)
        row["other_counts"] += len(expected) != len(faces)
        for values, face in zip(expected, faces, strict=False):
            off = {
                "box_px": np.abs(values[:4] - face.box).max(),
                "points_px": np.abs(values[4:14].reshape(5, 2) - face.landmarks).max(),
                "score": abs(values[14] - face.score),
            }
            worst = {name: max(worst[name], float(off[name])) for name in worst}
            row["faces"] += 1
    return row | worst


def main():
    options = parser(__doc__)
    add_data(options)
    options.add_argument("--files", type=int, default=500)
    options = options.parse_args()
    models = {
        "floats": options.data / "models/yunet_n_640_640.onnx",
        "8 bits in blocks": find_detector().path,
    }
    shown = list(pictures(options.data, options.files))
    rows = [
        {"model": name, "backend": backend, **compare(model, backend, shown)}
        for name, model in models.items()
        for backend in NETWORKS
    ]
    for row in rows:
        print(row)
    result = new_result("Boxes, points and scores on each library against FaceDetectorYN")
    write_result(result | {"pictures": len(shown), "rows": rows}, options.output)


if __name__ == "__main__":
    main()
