"""Landmarks as JSON: lists of points, or points by name as MTCNN, RetinaFace and others give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.landmark_csv import IN_ORDER, LandmarkRows, form_of
from edge_fiqa.faces.point_names import PATHS, FivePoints, five_of, named_points, plain
from edge_fiqa.types import Point

EXPECTED: Final = (
    'expected {"photo.jpg": [[x, y], five points]} or {"photo.jpg": {"left_eye": [x, y], '
    '"right_eye": [x, y], "nose": [x, y], "mouth_left": [x, y], "mouth_right": [x, y]}}; '
    "a list of these for several faces"
)
NAMED: Final = "points by their names"
HOLDERS: Final = frozenset(
    (
        "keypoints",
        "landmarks",
        "landmark",
        "kps",
        "points",
        "landmarks5",
        "faces",
        "faciallandmarks",
    )
)
"""Keys of an object that hold its points, or its faces."""


def faces_of_json(file: Path, text: str) -> LandmarkRows:
    """The faces of each picture. Raises ConfigError naming the file, the picture and the form."""
    try:
        tree = msgspec.json.decode(text)
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{file}: {exc}") from exc
    forms: list[str] = []
    faces = []
    for path, value in _pictures(file, tree):
        try:
            faces.append((path, _faces(value, forms)))
        except (ValueError, TypeError) as exc:
            cause = f"{exc}; " if str(exc) else ""
            raise ConfigError(f"{file}, {path!r}: {cause}{EXPECTED}") from exc
    if NAMED in forms and len(set(forms)) > 1:
        raise ConfigError(f"{file}: some points have names and some have none; {EXPECTED}")
    form = " or ".join(dict.fromkeys(forms)) or IN_ORDER
    return LandmarkRows(faces, form, NAMED in forms)


def _pictures(file: Path, tree: Any) -> list[tuple[str, Any]]:
    """(path, what it holds): of an object by path, or of a list of objects that name their path."""
    if isinstance(tree, dict):
        return list(tree.items())
    if not isinstance(tree, list) or not all(isinstance(entry, dict) for entry in tree):
        raise ConfigError(f"{file}: {EXPECTED}")
    if not tree:
        raise ConfigError(f"{file} names no faces; {EXPECTED}")
    return [_picture(file, entry) for entry in tree]


def _picture(file: Path, entry: dict[str, Any]) -> tuple[str, Any]:
    """The path that an object names, and the rest of it."""
    keys = {plain(key): key for key in entry}
    named = next((keys[name] for name in PATHS if name in keys), None)
    if named is None or not isinstance(entry[named], str):
        raise ConfigError(f"{file}: {EXPECTED}")
    return entry[named], {key: value for key, value in entry.items() if key != named}


def _faces(value: Any, forms: list[str]) -> list[FivePoints]:
    """The faces in what a picture holds. forms: gets, for each, how it was read, in words."""
    if isinstance(value, dict):
        return _faces_of_object(value, forms)
    if not isinstance(value, list):
        raise ValueError
    if value and (points := _points(value)) is not None:
        forms.append(form_of(len(points)))
        return [five_of(points)]
    return [face for item in value for face in _faces(item, forms)]


def _faces_of_object(value: dict[str, Any], forms: list[str]) -> list[FivePoints]:
    if (named := named_points(value)) is not None:
        forms.append(NAMED)
        return [five_of([_point(named[place]) for place in range(5)])]
    for key, item in value.items():
        if plain(key) in HOLDERS and item is not None:
            return _faces(item, forms)
    if value and all(isinstance(item, dict) for item in value.values()):  # face_1, face_2, ...
        return [face for item in value.values() for face in _faces(item, forms)]
    raise ValueError


def _points(value: Sequence[Any]) -> list[Point] | None:
    """A list of points, or of their numbers in a row; None if it holds something else."""
    if all(_is_number(item) for item in value):
        if len(value) not in (10, 136):
            raise ValueError
        return [(float(x), float(y)) for x, y in zip(value[::2], value[1::2], strict=True)]
    if all(isinstance(item, list) and item and _is_number(item[0]) for item in value):
        if all(len(item) in (10, 136) for item in value):
            return None  # faces, each with its numbers in a row
        return [_point(item) for item in value]
    return None


def _point(value: Any) -> Point:
    """[x, y] or {"x": x, "y": y}."""
    if isinstance(value, dict):
        value = [value.get("x"), value.get("y")]
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise ValueError
    return float(value[0]), float(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
