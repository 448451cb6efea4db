"""Names of landmarks in the conventions people have -> where each of the five points stands.

Columns: left_eye_x, lefteye_x, eye_left_x, mouth_right_y, leftmouth_x, x1, x_0, p1x, landmarks.1.x.
JSON keys: left_eye, leftEye, nose, nose_tip, mouth_left, left_mouth_corner.
68 points are those of iBUG 300-W and dlib; 5 stand in the template's order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from edge_fiqa.types import Point

FivePoints = tuple[Point, Point, Point, Point, Point]

PATHS: Final = (
    "path", "filepath", "imagepath", "file", "filename", "image", "imageid", "imagename", "img",
    "imgpath", "imagefile", "source", "name", "id",
)  # fmt: skip
"""Names of the column, or key, that says which image; the earlier one is taken."""

PLACES: Final = ("left eye", "right eye", "nose", "left mouth", "right mouth")
OTHER_POINT: Final = re.compile("inner|outer|brow|top|bottom|upper|lower|bridge|ear|inside|outside")
NOSE: Final = re.compile("(nose|nosetip|tipofnose|tipofthenose|nosecenter|nosecentre|nosepoint)")
"""Not its root, its bridge, its wings or their edges."""
INDEXED: Final = re.compile(r"(?:p|pt|point|lm|lmk|landmarks?|kps?|keypoints?)?(\d*)([xy])(\d*)")


def plain(name: str) -> str:
    """`Left_Eye.X` -> `lefteyex`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def place_of(name: str) -> int | None:
    """Which of the five points a name without an axis means, None if none of them."""
    text = plain(name)
    if OTHER_POINT.search(text):
        return None
    if "nose" in text:
        return 2 if NOSE.fullmatch(text.replace("landmarks", "").replace("landmark", "")) else None
    part = re.search("eye|pupil|mouth|lip", text)
    if part is None:
        return None
    rest = text.replace(part[0], "", 1).replace("corner", "").replace("center", "")
    rest = rest.replace("centre", "").replace("landmark", "").replace("of", "")
    side = {"left": 0, "l": 0, "right": 1, "r": 1}.get(rest)
    if side is None:
        return None
    return side + (0 if part[0] in ("eye", "pupil") else 3)


def columns_of_places(names: Sequence[str]) -> dict[tuple[int, int], int] | None:
    """{(place, axis): column} of ten columns that name the parts of a face, else None.

    axis: 0 for x, 1 for y. A name that occurs twice means nothing.
    """
    columns: dict[tuple[int, int], int] = {}
    for column, name in enumerate(names):
        text = plain(name)
        axis = "xy".find(text[-1:]) if text[-1:] in "xy" else "xy".find(text[:1])
        stem = text[:-1] if text[-1:] in "xy" else text[1:]
        place = place_of(stem) if text and axis >= 0 else None
        if place is not None:
            if (place, axis) in columns:
                return None
            columns[place, axis] = column
    return columns if len(columns) == 10 else None


def columns_of_numbers(names: Sequence[str]) -> dict[tuple[int, int], int] | None:
    """{(number, axis): column} of 5 or 68 numbered points, counted from 0 here, else None."""
    columns: dict[tuple[int, int], int] = {}
    for column, name in enumerate(names):
        match = INDEXED.fullmatch(plain(name))
        digits = match and (match[1] or match[3])
        if match and digits and not (match[1] and match[3]):
            columns[int(digits), "xy".index(match[2])] = column
    numbers = sorted({number for number, _ in columns})
    if len(numbers) not in (5, 68) or len(columns) != 2 * len(numbers):
        return None
    first = numbers[0]
    if first > 1 or numbers != list(range(first, first + len(numbers))):
        return None
    return {(number - first, axis): column for (number, axis), column in columns.items()}


def path_column(names: Sequence[str]) -> int | None:
    """The column that says which image, None if none is named so."""
    texts = [plain(name) for name in names]
    return next((texts.index(name) for name in PATHS if name in texts), None)


def five_of(points: Sequence[Point]) -> FivePoints:
    """Five points as they are; of 68, the centres of the eyes, tip of the nose, corners of the mouth.

    Raises ValueError for another number of points.
    """
    if len(points) == 68:
        return (_mean(points[36:42]), _mean(points[42:48]), points[30], points[48], points[54])
    if len(points) != 5:
        raise ValueError(f"expected 5 or 68 points, got {len(points)}")
    return (points[0], points[1], points[2], points[3], points[4])


def exchanged(points: FivePoints) -> FivePoints:
    """Left and right in the other's place."""
    return (points[1], points[0], points[2], points[4], points[3])


def _mean(points: Sequence[Point]) -> Point:
    return (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))


def named_points(value: dict[str, Any]) -> dict[int, Any] | None:
    """{place: what its key holds} of an object that names all five parts of a face, else None.

    Raises ValueError where several keys mean the same part and none is its plain name.
    """
    keys: dict[int, list[str]] = {}
    for key in value:
        place = place_of(key)
        if place is not None:
            keys.setdefault(place, []).append(key)
    if len(keys) < 5:
        return None
    return {place: value[_preferred(names)] for place, names in keys.items()}


def _preferred(names: Sequence[str]) -> str:
    """Of several names of one part: the pupil before the eye, the tip of the nose before the nose."""
    for word in ("pupil", "tip", "corner"):
        if len(exact := [name for name in names if word in plain(name)]) == 1:
            return exact[0]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(map(repr, names))} mean the same point")
    return names[0]
