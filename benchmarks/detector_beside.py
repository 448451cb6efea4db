"""Is a turned face detected beside an upright one, and what does it cost to look for it?

Two aligned faces of the test list lie side by side over smooth noise, the second one turned. It counts
as detected where a face has its centre there. "upright" is the detector without its search for lying
faces. Detected faces at neither place are false.
"""

import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from common import add_data, new_result, parser, read_faces, read_split, write_result
from detector_turns import LOOKED_AT, ZOOMS, scene

from edge_fiqa.faces.detector import DetectedFace
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.types import Bytes

ANGLES = (45, 90, 180)
Detect = Callable[[Bytes], Sequence[DetectedFace]]


def main() -> None:
    options = parser(__doc__)
    add_data(options)
    options.add_argument("-n", type=int, default=40, help="pictures at each angle (40)")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    rows = read_split(chosen.data, "test", grey=False)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(rows))[LOOKED_AT : LOOKED_AT + 2 * chosen.n]
    faces = read_faces(chosen.data, [rows[i]["path"] for i in order])
    result = new_result(__doc__) | {"pictures": chosen.n, "angles": {}}
    for angle in ANGLES:
        pictures = [
            side_by_side(faces[2 * k], faces[2 * k + 1], angle * (-1) ** k, rng)
            for k in range(chosen.n)
        ]
        result["angles"][angle] = {name: row(way, pictures) for name, way in ways().items()}
        print(angle, result["angles"][angle], flush=True)
    write_result(result, chosen.output)


def ways() -> dict[str, Detect]:
    file = find_detector()
    if file is None:
        raise SystemExit("no detector; pip install 'edge-fiqa[detector]'")
    usual = PhotoDetector(file.path)
    return {
        "upright": lambda image: usual._confirmed(image, usual._search(image)),
        "usual": usual.detect,
        "all turns": PhotoDetector(file.path, all_turns=True).detect,
    }


def side_by_side(
    first: Bytes, second: Bytes, angle: float, rng: np.random.Generator
) -> tuple[Bytes, np.ndarray, np.ndarray]:
    """A picture, and the template's places (5, 2) of its upright and of its turned face."""
    upright, true = scene(first, 0, rng.choice(ZOOMS), rng)
    turned, other = scene(second, angle, rng.choice(ZOOMS), rng)
    return np.hstack([upright, turned]), true, other + np.array([upright.shape[1], 0])


def row(detect: Detect, pictures: Sequence[tuple[Bytes, np.ndarray, np.ndarray]]) -> dict:
    started = time.process_time()
    detected = [detect(image) for image, _, _ in pictures]
    ms = 1e3 * (time.process_time() - started) / len(pictures)
    counts = {"upright": 0, "turned": 0, "false": 0}
    for faces, (_, true, other) in zip(detected, pictures, strict=True):
        places = [[lies_at(face, place) for face in faces] for place in (true, other)]
        counts["upright"] += any(places[0])
        counts["turned"] += any(places[1])
        counts["false"] += sum(not (a or b) for a, b in zip(*places, strict=True))
    return counts | {"cpu_ms": round(ms, 1)}


def lies_at(face: DetectedFace, place: np.ndarray) -> bool:
    reach = np.ptp(place[:, 0]) + np.ptp(place[:, 1])
    return bool(np.hypot(*(face.landmarks.mean(0) - place.mean(0))) < reach / 2)


if __name__ == "__main__":
    main()
