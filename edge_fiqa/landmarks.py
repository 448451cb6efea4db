"""Landmark files: five points a face, as CSV or JSON.

    CSV   path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5     one row per face; a header is allowed
    JSON  {"path": [[x, y], ... 5], "other": [[[x, y], ... 5], ...]}

Order: eye on the image's left, other eye, nose, mouth corner on the image's left, other corner.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_fiqa.errors import ConfigError

Point = tuple[float, float]
Face = tuple[Point, Point, Point, Point, Point]


@dataclass(frozen=True)
class Landmarks:
    """Faces by path as written in `file`."""

    file: Path
    faces: Mapping[str, Sequence[Face]]

    def of(self, path: Path) -> Sequence[Face]:
        """Faces of an image, named as in the file, absolutely, or relative to the file's folder."""
        for name in (str(path), path.as_posix(), str(path.resolve())):
            if name in self.faces:
                return self.faces[name]
        folder = self.file.resolve().parent
        if path.resolve().is_relative_to(folder):
            return self.faces.get(path.resolve().relative_to(folder).as_posix(), ())
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


def _from_json(file: Path, text: str) -> dict[str, list[Face]]:
    faces: dict[str, list[Face]] = {}
    try:
        for path, raw in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items():
            opening = b"".join(bytes(raw).split())[:3]  # faces in a list, or the points of one?
            kind = list[Face] if opening.startswith((b"[[[", b"[]")) else Face
            try:
                found = msgspec.json.decode(raw, type=kind)
            except msgspec.ValidationError as exc:
                raise ConfigError(f"{file}, {path!r}: {exc}") from exc
            faces[path] = found if isinstance(found, list) else [found]
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{file}: {exc}") from exc
    return faces


def _from_csv(file: Path, text: str) -> dict[str, list[Face]]:
    faces: dict[str, list[Face]] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row or (number == 1 and row[0].strip().lower() == "path"):
            continue
        try:
            path, *values = row
            x1, y1, x2, y2, x3, y3, x4, y4, x5, y5 = map(float, values)
        except ValueError:
            raise ConfigError(
                f"{file}, line {number}: expected path,x1,y1,...,x5,y5 (a path and ten numbers)"
            ) from None
        faces.setdefault(path, []).append(((x1, y1), (x2, y2), (x3, y3), (x4, y4), (x5, y5)))
    return faces
