"""Landmark files: five points a face, as CSV or JSON.

    CSV   path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5     one row per face; a header is allowed
    JSON  {"path": [[x, y], ... 5], "other": [[[x, y], ... 5], ...]}

Order: eye on the image's left, other eye, nose, mouth corner on the image's left, other corner.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import msgspec

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Point

FivePoints = tuple[Point, Point, Point, Point, Point]

SEVERAL = re.compile(rb"\s*\[\s*(\]|\[\s*\[)")  # a list of faces, which may be empty


@dataclass(frozen=True)
class Landmarks:
    """Faces by path as written in `file`."""

    file: Path
    faces: Mapping[str, Sequence[FivePoints]]

    def of(self, path: Path) -> Sequence[FivePoints]:
        """Faces of an image, named as in the file, absolutely, or relative to the file's folder."""
        for name in (path, path.absolute(), path.resolve()):
            if name.as_posix() in self.faces:
                return self.faces[name.as_posix()]
        for image, file in (
            (path.absolute(), self.file.absolute()),
            (path.resolve(), self.file.resolve()),
        ):
            try:  # also ../photos/a.jpg, for images that are not below the file's folder
                name = Path(os.path.relpath(image, file.parent))
            except ValueError:  # another drive
                continue
            if name.as_posix() in self.faces:
                return self.faces[name.as_posix()]
        return ()


def read_landmarks(file: Path) -> Landmarks:
    """Read a .json or .csv file. Raises ConfigError naming the file and the line or key."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file} is not text (UTF-8)") from exc
    faces = _from_json(file, text) if file.suffix.lower() == ".json" else _from_csv(file, text)
    if not faces:
        raise ConfigError(f"{file} names no faces")
    return Landmarks(file, faces)


def _from_json(file: Path, text: str) -> dict[str, list[FivePoints]]:
    faces: dict[str, list[FivePoints]] = {}
    try:
        for path, raw in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items():
            kind = list[FivePoints] if SEVERAL.match(bytes(raw)) else FivePoints
            try:
                found = msgspec.json.decode(raw, type=kind)
            except msgspec.ValidationError as exc:
                raise ConfigError(f"{file}, {path!r}: {exc}") from exc
            faces.setdefault(_key(path), []).extend(found if isinstance(found, list) else [found])
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{file}: {exc}") from exc
    return faces


def _from_csv(file: Path, text: str) -> dict[str, list[FivePoints]]:
    faces: dict[str, list[FivePoints]] = {}
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            if not row or (reader.line_num == 1 and row[0].strip().lower() == "path"):
                continue
            path, *values = row
            x1, y1, x2, y2, x3, y3, x4, y4, x5, y5 = map(float, values)
            points = ((x1, y1), (x2, y2), (x3, y3), (x4, y4), (x5, y5))
            faces.setdefault(_key(path), []).append(points)
    except (ValueError, csv.Error) as exc:
        raise ConfigError(
            f"{file}, line {reader.line_num}: expected path,x1,y1,...,x5,y5 "
            "(a path and ten numbers)"
        ) from exc
    return faces


def _key(path: str) -> str:
    """`./a.jpg` and `a.jpg` are one image."""
    return PurePath(path).as_posix()
