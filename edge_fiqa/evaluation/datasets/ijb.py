"""IJB-B and IJB-C as insightface lays them out: loose crops, five points, templates and their pairs.

loose_crop/1.jpg                       the pictures
meta/ijbc_name_5pts_score.txt          name, ten coordinates, detector score
meta/ijbc_face_tid_mid.txt             name, template, medium
meta/ijbc_template_pair_label.txt      template, template, 1 or 0
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets.face_files import FileFaces
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs, Templates
from edge_fiqa.types import Floats


def read_ijb(folder: Path, name: str) -> FacePairs:
    """Raises ConfigError naming the file that is missing or does not fit the others."""
    tid_mid, five, label = _meta_files(folder)
    names, numbers = _named(tid_mid, 2)
    point_names, points = _named(five, 11)
    if names != point_names:
        raise ConfigError(f"{five}: its pictures are not those of {tid_mid.name}, in that order")
    if not (folder / "loose_crop" / names[0]).is_file():
        raise ConfigError(f"{folder / 'loose_crop' / names[0]}: no such picture")
    pairs = _numbers(label, 3).astype(np.intp)
    known, template = np.unique(numbers[:, 0].astype(np.intp), return_inverse=True)
    media = np.unique(numbers[:, 1].astype(np.intp), return_inverse=True)[1]
    sides = np.searchsorted(known, pairs[:, :2]).clip(max=known.size - 1)
    if (unknown := known[sides] != pairs[:, :2]).any():
        first = pairs[:, :2][unknown][0]
        raise ConfigError(f"{label}: template {first} has no picture in {tid_mid.name}")
    return FacePairs(
        name,
        FileFaces(folder / "loose_crop", names, points[:, :10].reshape(-1, 5, 2)),
        sides[:, 0],
        sides[:, 1],
        pairs[:, 2] == 1,
        pairs[:, 0].astype(str),
        Templates(template, media),
        ("intervals draw templates: these lists do not name persons",),
    )


def _meta_files(folder: Path) -> tuple[Path, Path, Path]:
    """The lists of templates and media, of five points, and of pairs."""
    tid_mid = next(folder.glob("meta/*_face_tid_mid.txt"))
    stem = tid_mid.name.removesuffix("_face_tid_mid.txt")
    five, label = (
        folder / "meta" / f"{stem}_{kind}.txt"
        for kind in ("name_5pts_score", "template_pair_label")
    )
    for path in (five, label):
        if not path.is_file():
            raise ConfigError(f"{path}: not there; IJB needs it beside {tid_mid.name}")
    return tid_mid, five, label


def _named(path: Path, columns: int) -> tuple[list[str], Floats]:
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line]
        if not rows:
            raise ValueError("it is empty")
        return [row[0] for row in rows], _shaped([row[1:] for row in rows], columns)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (ValueError, IndexError) as exc:
        raise ConfigError(f"{path}: expected a name and {columns} numbers a line ({exc})") from exc


def _numbers(path: Path, columns: int) -> Floats:
    try:
        return _shaped(np.loadtxt(path, np.float64, ndmin=2), columns)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (ValueError, UserWarning) as exc:
        raise ConfigError(f"{path}: expected {columns} numbers a line ({exc})") from exc


def _shaped(rows: npt.ArrayLike, columns: int) -> Floats:
    numbers = np.asarray(rows, np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != columns or not len(numbers):
        raise ValueError(f"found {numbers.shape}")
    return numbers
