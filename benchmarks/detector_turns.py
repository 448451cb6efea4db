"""How much quality do tilted heads lose, by the points of one detection and of several?

Aligned faces of the test list are turned, enlarged and laid into a larger blurred picture, so that
the true place of the template is known. Quality of the crop by the detected points is compared with
that of the crop by the true place. A face is lost where no detected face has its centre there.
"""

import time
from pathlib import Path

import cv2
import numpy as np
from common import add_data, new_result, parser, read_faces, read_split, write_result

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import TEMPLATE, align
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.scoring.scorer import Scorer

ANGLES = (0, 15, 30, 45, 60, 90, 135, 180)
SIZE = (900, 700)
ZOOMS = (1.0, 1.5, 2.0, 3.0)
LOOKED_AT = 60  # faces on which the detector's sizes and limits were chosen: they are left out
EDGE = 5  # pixels of a crop that are blended with the background


def scene(face, angle, zoom, rng):
    """A picture of SIZE with the face turned by `angle` degrees, and the template's place (5, 2)."""
    half = 56 * zoom * np.sqrt(2)
    centre = [rng.uniform(half, side - half) for side in SIZE]
    move = cv2.getRotationMatrix2D((55.5, 55.5), angle, zoom)
    move[:, 2] += np.subtract(centre, 55.5)
    mask = np.zeros(face.shape[:2], np.float32)
    mask[EDGE:-EDGE, EDGE:-EDGE] = 1
    mask = cv2.warpAffine(cv2.GaussianBlur(mask, (0, 0), EDGE / 2), move, SIZE)[..., None]
    turned = cv2.warpAffine(face, move, SIZE, borderMode=cv2.BORDER_REPLICATE)
    behind = cv2.GaussianBlur(cv2.resize(face, SIZE), (0, 0), SIZE[0] / 12)
    return (turned * mask + behind * (1 - mask)).astype(np.uint8), TEMPLATE @ move[:, :2].T + move[
        :, 2
    ]


def detected_crop(faces, image, true):
    """The crop (112, 112, 3) of the detected face at the true place, or None."""
    centre, reach = true.mean(0), np.ptp(true[:, 0]) + np.ptp(true[:, 1])
    off, nearest = min(
        ((np.hypot(*(face.landmarks.mean(0) - centre)), face) for face in faces),
        key=lambda pair: pair[0],
        default=(np.inf, None),
    )
    try:
        return align(image, nearest.landmarks, 1) if off < reach / 2 else None
    except ImageRefused:
        return None


def qualities(scorer, crops):
    estimate, scale = scorer.estimator.estimate, scorer.estimator.scale
    values = []
    for start in range(0, len(crops), 16):
        scores = scorer.assess(np.stack(crops[start : start + 16])).score
        values.extend(scale.quality(estimate(scores, scorer.controller.exits[-1])))
    return np.array(values, float)


def row_of(scorer, crops, true, ms):
    """What one way of detection did to the faces at one angle."""
    kept = [number for number, crop in enumerate(crops) if crop is not None]
    change = qualities(scorer, [crops[number] for number in kept]) - true[kept]
    return {
        "lost": len(crops) - len(kept),
        "mean_change": round(float(change.mean()), 2),
        "median_change": round(float(np.median(change)), 2),
        "mean_absolute_change": round(float(np.abs(change).mean()), 2),
        "share_20_points_lower": round(float((change < -20).mean()), 4),
        "cpu_ms": round(ms / len(crops), 1),
    }


def main():
    options = parser(__doc__)
    add_data(options)
    options.add_argument("--model", type=Path, help="YuNet's file (the detector that there is)")
    options.add_argument("-n", type=int, default=200, help="faces (200)")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    file = find_detector(chosen.model)
    rows = read_split(chosen.data, "test", grey=False)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))[LOOKED_AT : LOOKED_AT + chosen.n]
    paths = [rows[i]["path"] for i in order]
    result = new_result(__doc__) | {"detector": file.path.name, "faces": len(paths), "angles": {}}
    ways = {
        "one_pass": YuNet(file.path).detect,
        "several": PhotoDetector(file.path).detect,
        "all_turns": PhotoDetector(file.path, all_turns=True).detect,
    }
    with Scorer.open("nano", threads=1) as scorer:
        for angle in ANGLES:
            scenes = [
                scene(face, angle * (-1) ** number, rng.choice(ZOOMS), rng)
                for number, face in enumerate(read_faces(chosen.data, paths))
            ]
            true = qualities(scorer, [align(image, points) for image, points in scenes])
            result["angles"][angle] = {"true_quality": round(float(true.mean()), 2)}
            for name, detect in ways.items():
                started = time.process_time()
                detected = [detect(image) for image, _ in scenes]
                ms = 1e3 * (time.process_time() - started)
                crops = [
                    detected_crop(faces, *place)
                    for faces, place in zip(detected, scenes, strict=True)
                ]
                result["angles"][angle][name] = row_of(scorer, crops, true, ms)
                print(angle, name, result["angles"][angle][name], flush=True)
            write_result(result, chosen.output)


if __name__ == "__main__":
    main()
