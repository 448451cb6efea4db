"""How often does the check call an aligned crop unaligned, and how often does it notice one that is?

    python benchmarks/crop_check.py DATA [--video FILE --detector YUNET] -o RESULT.json

On the test split, whose persons the check has not seen: aligned crops as they are and degraded as in
training give false alarms, of the checks for one plain colour and for missing features, too; the same
crops shifted, scaled, turned, stretched, uncut or with swapped channels give hits. What moves into a
crop from outside is black, replicated or reflected. Faces of a video are cut as squares around the
detected box, as loose as programs without alignment cut them. Intervals are Wilson's, 95 %.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import common
import cv2
import numpy as np
from scipy.stats import binomtest

from edge_fiqa.faces.border import FACE_CUT, FACE_WINDOW
from edge_fiqa.faces.crop_check import (
    CONSTANTS,
    colour_margin,
    features_of,
    is_featureless,
    misaligned_by,
    plain_share,
)
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.training.degradations.table import random_mixture
from edge_fiqa.types import IMAGE, Bytes

BORDERS = {
    "black": cv2.BORDER_CONSTANT,
    "replicated": cv2.BORDER_REPLICATE,
    "reflected": cv2.BORDER_REFLECT_101,
}
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
EVERY = 4  # of the test faces is moved; all of them are checked as they are
EVERY_DEGRADED = 6
EVERY_FRAME = 10
LOOSENESS = (1.0, 1.3, 1.6, 2.0, 3.0)  # sides of a square, in longer sides of the detected box
CENTRE = (IMAGE - 1) / 2
Change = Callable[[Bytes, np.random.Generator, int], Bytes]


def main() -> None:
    parser = common.parser(__doc__)
    common.add_data(parser)
    parser.add_argument("--video", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--detector", type=Path, metavar="YUNET.onnx")
    options = parser.parse_args()
    result = common.new_result(__doc__)
    result["constants_bytes"] = CONSTANTS.stat().st_size
    rows = common.read_split(options.data, "test")
    sets = np.array([row["dataset"] for row in rows])
    faces = common.read_faces(options.data, [row["path"] for row in rows])
    result["false_alarms_percent"] = false_alarms(faces, sets)
    result["plain_and_featureless"] = plain_and_featureless(faces, sets)
    result["hits_percent"] = hits(faces[::EVERY], sets[::EVERY])
    if options.video:
        result["video"] = of_videos(options)
    common.write_result(result, options.output)


def false_alarms(faces: Bytes, sets: np.ndarray) -> dict:
    some, few = faces[::EVERY], faces[::EVERY_DEGRADED]
    mixtures = [
        random_mixture(face, seed=8_000_000 + number).pixels for number, face in enumerate(few)
    ]
    result = {"aligned": shares([misaligned_by(face) > 0 for face in faces], sets)}
    for name, worse in degradations().items():
        flags = [misaligned_by(worse(face)) > 0 for face in some]
        result[name] = shares(flags, sets[::EVERY])
    flags = [misaligned_by(face) > 0 for face in mixtures]
    result["training's random mixtures, misalignment among them"] = shares(
        flags, sets[::EVERY_DEGRADED]
    )
    result["channels, aligned"] = shares([colour_margin(face) < 0 for face in faces], sets)
    for name, value in result.items():
        print(f"{name:>52} {value}", flush=True)
    return result


def degradations() -> dict[str, Callable[[Bytes], Bytes]]:
    return {
        "dark, an eighth of the light": lambda face: (face * 0.12).astype(np.uint8),
        "blurred, sigma 3 pixels": lambda face: cv2.GaussianBlur(face, (0, 0), 3),
        "lower face under a plain mask": masked,
    }


def plain_and_featureless(faces: Bytes, sets: np.ndarray) -> dict:
    """Percent of crops with either warning, and how near to the limits the others come.

    A plain mask over the lower face is to be noticed; all else is a false alarm.
    """
    result = {}
    for name, change in {"aligned": lambda face: face, **degradations()}.items():
        step = 1 if name == "aligned" else EVERY
        crops = [change(face) for face in faces[::step]]
        plain = np.array([plain_share(crop) for crop in crops])
        contrast, detail = np.array([features_of(crop) for crop in crops]).T
        result[name] = {
            "plain colour": shares(plain > FACE_CUT, sets[::step]),
            "no features": shares([is_featureless(crop) for crop in crops], sets[::step]),
            "largest plain share": round(float(plain.max()), 3),
            "largest black share": round(max(black_share(crop) for crop in crops), 3),
            "least contrast": round(float(contrast.min()), 2),
            "least detail": round(float(detail.min()), 3),
        }
        print(f"{name:>52} {result[name]}", flush=True)
    return result


def black_share(crop: Bytes) -> float:
    return float((crop[FACE_WINDOW] == 0).all(axis=2).mean())


def masked(face: Bytes) -> Bytes:
    covered = face.copy()
    covered[70:] = (120, 150, 190)
    return covered


def hits(faces: Bytes, sets: np.ndarray) -> dict:
    result: dict = {}
    for name, change in changes().items():
        rng, borders = np.random.default_rng(5), BORDERS if name != "uncut squares" else ("-",)
        result[name] = {}
        for border in borders:
            flags = [misaligned_by(change(face, rng, BORDERS.get(border, 0))) > 0 for face in faces]
            result[name][border] = shares(flags, sets)
        print(f"{name:>24} {[(b, v['all']) for b, v in result[name].items()]}", flush=True)
    swapped = [colour_margin(np.ascontiguousarray(face[..., ::-1])) < 0 for face in faces]
    result["channels swapped"] = {"-": shares(swapped, sets)}
    print(f"    channels swapped {result['channels swapped']}", flush=True)
    return result


def changes() -> dict[str, Change]:
    moved: dict[str, Change] = {
        "4 pixels": lambda face, rng, border: move(face, border, shift=direction(rng, 4)),
        "8 pixels": lambda face, rng, border: move(face, border, shift=direction(rng, 8)),
        "10 degrees": lambda face, rng, border: move(face, border, angle=rng.choice([-10, 10])),
        "20 degrees": lambda face, rng, border: move(face, border, angle=rng.choice([-20, 20])),
        "uncut squares": uncut,
    }
    for name, shift in DIRECTIONS.items():
        moved[f"8 pixels {name}"] = partial(moved_by, shift=np.multiply(shift, 8))
    for zoom in (0.65, 0.8, 1.25):
        moved[f"scale {zoom}"] = partial(moved_by, zoom=zoom)
    for stretch in (1.1, 1.17, 1.25, 1.33):
        moved[f"{stretch} times too wide"] = partial(moved_by, stretch=stretch)
        moved[f"{stretch} times too tall"] = partial(moved_by, stretch=1 / stretch)
    return moved


def moved_by(face: Bytes, _: np.random.Generator, border: int, **how: object) -> Bytes:
    return move(face, border, **how)


def direction(rng: np.random.Generator, pixels: float) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return pixels * np.array([np.cos(angle), np.sin(angle)])


def move(
    face: Bytes,
    border: int,
    *,
    shift: object = (0, 0),
    zoom: float = 1,
    angle: float = 0,
    stretch: float = 1,
) -> Bytes:
    """stretch: of the width over the height, about the centre; the area stays."""
    matrix = cv2.getRotationMatrix2D((CENTRE, CENTRE), angle, zoom)
    matrix[:, :2] *= np.sqrt([stretch, 1 / stretch])
    centre = np.array([CENTRE, CENTRE])
    matrix[:, 2] = centre - matrix[:, :2] @ centre + shift
    return cv2.warpAffine(face, matrix, (IMAGE, IMAGE), borderMode=border)


def uncut(face: Bytes, rng: np.random.Generator, _: int) -> Bytes:
    """The face at 20 to 65 % of its size in a square of its own blurred surroundings."""
    zoom = rng.uniform(0.2, 0.65)
    free = (1 - zoom) * IMAGE / 2
    shift = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.8, 0.3)]) * free
    matrix = cv2.getRotationMatrix2D((CENTRE, CENTRE), 0, zoom)
    matrix[:, 2] += shift
    scene = cv2.GaussianBlur(move(face, cv2.BORDER_REFLECT_101, zoom=1.8), (0, 0), 6)
    scene = np.clip(scene * rng.uniform(0.4, 1.3), 0, 255).astype(np.uint8)
    small = cv2.warpAffine(cv2.GaussianBlur(face, (0, 0), 0.5 / zoom), matrix, (IMAGE, IMAGE))
    weight = np.zeros((IMAGE, IMAGE), np.float32)
    cv2.ellipse(weight, (56, 58), (44, 58), 0, 0, 360, 1.0, -1)
    weight = cv2.warpAffine(cv2.GaussianBlur(weight, (0, 0), 3), matrix, (IMAGE, IMAGE))[..., None]
    return (small * weight + scene * (1 - weight)).astype(np.uint8)


def of_videos(options: argparse.Namespace) -> dict:
    """Real surroundings: squares around detected faces, and the same faces aligned."""
    from edge_fiqa.errors import ImageRefused
    from edge_fiqa.faces.align import align

    yunet = YuNet(options.detector)
    flags: dict[str, list[bool]] = {f"box x {side:g}": [] for side in LOOSENESS}
    flags |= {"whole frame": [], "aligned by YuNet": []}
    for frame in (frame for video in options.video for frame in frames(video)):
        flags["whole frame"].append(misaligned_by(cv2.resize(frame, (IMAGE, IMAGE))) > 0)
        for face in yunet.detect(frame):
            for side in LOOSENESS:
                flags[f"box x {side:g}"].append(misaligned_by(square(frame, face.box, side)) > 0)
            try:
                flags["aligned by YuNet"].append(misaligned_by(align(frame, face.landmarks)) > 0)
            except ImageRefused:
                continue
    result = {
        name: {"faces": len(values), "unaligned_percent": round(100 * float(np.mean(values)), 2)}
        for name, values in flags.items()
    }
    print(result, flush=True)
    return result


def frames(video: Path) -> Iterator[Bytes]:
    capture, number = cv2.VideoCapture(str(video)), 0
    while capture.grab():
        number += 1
        if number % EVERY_FRAME == 0:
            yield cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)


def square(frame: Bytes, box: tuple[float, ...], looseness: float) -> Bytes:
    x, y, width, height = box
    side = max(width, height) * looseness
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    margin = round(side)
    wide = cv2.copyMakeBorder(frame, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    top, left = max(0, top + margin), max(0, left + margin)
    cut = wide[top : top + margin, left : left + margin]
    return cv2.resize(cut, (IMAGE, IMAGE), interpolation=cv2.INTER_AREA)


def shares(flags: Sequence[bool] | np.ndarray, sets: np.ndarray) -> dict[str, list[float]]:
    """Of all faces, and of each set: percent, and the ends of its interval."""
    flags = np.asarray(flags)
    return {"all": percent(flags)} | {
        str(name): percent(flags[sets == name]) for name in np.unique(sets)
    }


def percent(flags: np.ndarray) -> list[float]:
    """A share and its interval of 95 % (Wilson 1927), as if all faces were of different persons."""
    interval = binomtest(int(flags.sum()), len(flags)).proportion_ci(method="wilson")
    return [round(100 * float(value), 2) for value in (flags.mean(), interval.low, interval.high)]


if __name__ == "__main__":
    main()
