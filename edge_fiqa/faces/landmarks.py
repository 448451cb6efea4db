"""Landmark files: five points a face, in pixels of the picture as it is displayed (after EXIF).

    CSV   path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5     one row per face; also with ; or tabs
    JSON  {"path": [[x, y], ... 5], "other": [[[x, y], ... 5], ...]}

Order: eye on the image's left, other eye, nose, mouth corner on the image's left, other corner.
A header, or keys, that name the points may put them in another order. Points from 0 to 1, or -1
to 1, are taken as shares of the picture's size, 68 points as those of iBUG 300-W and dlib.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

import numpy as np

from edge_fiqa.errors import ConfigError, ImageRefused
from edge_fiqa.faces.landmark_csv import rows_of_csv
from edge_fiqa.faces.landmark_fit import NORMALISED, misfit_px
from edge_fiqa.faces.landmark_json import faces_of_json
from edge_fiqa.faces.point_names import FivePoints, exchanged
from edge_fiqa.types import Array, Point

MOST_COMPARED: Final = 200
"""Faces that decide whose left and right the file means."""
CENTRED: Final = 0.1
"""Share of normalised faces with a negative middle, above which 0 is the picture's middle."""


@dataclass(frozen=True)
class Landmarks:
    """Faces by path as written in `file`.

    understood: how the file was read, in words. normalised: whether coordinates are shares of the
    picture's width and height. centred: whether they run from -1 to 1, not from 0.
    used: names of the file that an image was looked up by, and that image.
    """

    file: Path
    faces: Mapping[str, Sequence[FivePoints]]
    understood: str = ""
    normalised: bool = False
    centred: bool = False
    used: dict[str, Path] = field(default_factory=dict, compare=False)

    def of(self, path: Path) -> Sequence[FivePoints]:
        """Faces of an image, named as in the file, absolutely, or relative to the file's folder.

        Raises ConfigError where a name means this image and another one that was asked for before.
        """
        for name in self._names(path):
            if name in self.faces:
                image = path.resolve()
                if (other := self.used.setdefault(name, image)) != image:
                    raise ConfigError(
                        f"{self.file}: {name} may mean {other} or {image}; name both by their "
                        "absolute paths"
                    )
                return self.faces[name]
        return ()

    def in_picture(self, path: Path, width: int, height: int) -> Sequence[FivePoints]:
        """As `of`, in pixels of a picture of this size."""
        faces = self.of(path)
        if not self.normalised:
            return faces
        return [_in_pixels(face, width, height, self.centred) for face in faces]

    def unmatched(self) -> list[str]:
        """Names of the file that no image asked for so far."""
        return [name for name in self.faces if name not in self.used]

    def _names(self, path: Path) -> Iterable[str]:
        for name in (path, path.absolute(), path.resolve()):
            yield name.as_posix()
        for image, file in (
            (path.absolute(), self.file.absolute()),
            (path.resolve(), self.file.resolve()),
        ):
            try:  # also ../photos/a.jpg, for images that are not below the file's folder
                yield Path(os.path.relpath(image, file.parent)).as_posix()
            except ValueError:  # another drive
                continue


def read_landmarks(file: Path) -> Landmarks:
    """Read a .json file, or a table. Raises ConfigError naming the file and the line or key."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file} is not text (UTF-8)") from exc
    is_json = file.suffix.lower() == ".json"
    read = faces_of_json(file, text) if is_json else rows_of_csv(file, text)
    faces: dict[str, list[FivePoints]] = {}
    for path, points in read.faces:
        faces.setdefault(_key(path), []).extend(points)
    if not faces:
        raise ConfigError(f"{file} names no faces")
    understood = [read.form]
    if read.by_name:
        faces, sides = _with_sides(faces)
        understood.append(sides)
    if _normalised(faces):
        span = "-1 to 1" if (centred := _centred(faces)) else "0 to 1"
        understood.append(f"points look normalised ({span}), multiplied by the picture's size")
        return Landmarks(file, faces, ", ".join(understood), normalised=True, centred=centred)
    return Landmarks(file, faces, ", ".join(understood))


def _with_sides(
    faces: dict[str, list[FivePoints]],
) -> tuple[dict[str, list[FivePoints]], str]:
    """Is left the image's or the person's? Decided over the file, by what fits a face better."""
    sample = [face for several in faces.values() for face in several][:MOST_COMPARED]
    if _median_misfit(sample) <= _median_misfit([exchanged(face) for face in sample]):
        return faces, "left and right are the image's"
    turned = {path: [exchanged(face) for face in several] for path, several in faces.items()}
    return turned, "left and right are the person's"


def _median_misfit(faces: Sequence[FivePoints]) -> float:
    misfits = []
    for face in faces:
        try:
            misfits.append(misfit_px(face))
        except ImageRefused:
            continue
    return float(np.median(misfits)) if misfits else 0.0


def _normalised(faces: Mapping[str, Sequence[FivePoints]]) -> bool:
    """Whether all coordinates are so small that no face could be, in pixels."""
    points = _all_points(faces)
    return bool(len(points) and (np.abs(points) <= NORMALISED).all())


def _centred(faces: Mapping[str, Sequence[FivePoints]]) -> bool:
    """Whether faces that lie around a negative place are more than exceptions."""
    middles = _all_points(faces).mean(axis=1)
    return bool((middles < 0).any(axis=1).mean() > CENTRED)


def _all_points(faces: Mapping[str, Sequence[FivePoints]]) -> Array:
    """(N, 5, 2)"""
    return np.array([face for several in faces.values() for face in several]).reshape(-1, 5, 2)


def _in_pixels(face: FivePoints, width: int, height: int, centred: bool) -> FivePoints:
    def place(x: float, y: float) -> Point:
        if centred:
            x, y = (x + 1) / 2, (y + 1) / 2
        return x * width, y * height

    a, b, c, d, e = (place(x, y) for x, y in face)
    return (a, b, c, d, e)


def _key(path: str) -> str:
    """`./a.jpg` and `a.jpg` are one image."""
    return PurePath(path).as_posix()
