"""Reads a folder of aligned faces."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from edge_fiqa.cli.printing import say
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.faces.crop_check import misaligned_by, unaligned_note
from edge_fiqa.faces.paths import expand
from edge_fiqa.faces.sources import FaceCrop, FaceReader
from edge_fiqa.types import FaceSet


def read_faces(folder: Path, limit: int | None, command: str) -> FaceSet:
    """At most `limit` aligned faces, spread evenly over the folder; unreadable ones are left out.

    Faces of one sub-folder are one group; in a flat folder every file is.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of faces")
    paths = list(expand([str(folder)], sys.stdin))
    if limit is not None and limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, max(limit, 1)).astype(int)]
    reader, crops, groups, names, refused = FaceReader(aligned=True), [], [], [], 0
    changed: Counter[str] = Counter()
    unaligned = 0
    for path in paths:
        for face in reader.faces_of(path):
            if isinstance(face, FaceCrop):
                crops.append(face.crop)
                changed.update(face.warnings)
                unaligned += misaligned_by(face.crop) > 0
                names.append(path.relative_to(folder).as_posix())
                groups.append(str(path if path.parent == folder else path.parent))
            else:
                refused += 1
    if not crops:
        raise ConfigError(
            f"{folder}: no aligned 112x112 faces in it ({counted(refused, 'file')} refused)"
        )
    if refused:
        say(f"edge-fiqa {command}: {counted(refused, 'unusable image')} left out", error=True)
    _say_of_crops(command, changed, unaligned_note(unaligned, len(crops)))
    return FaceSet(
        np.stack(crops), tuple(groups), f"faces of {folder.resolve().name}", tuple(names)
    )


def _say_of_crops(command: str, changed: Counter[str], unaligned: str | None) -> None:
    for change, count in changed.items():
        say(f"edge-fiqa {command}: {counted(count, 'face')} {change}", error=True)
    if unaligned is not None:
        say(f"edge-fiqa {command}: warning: {unaligned}", error=True)
