"""Adience: its five fold files name every face; it comes without pairs, so they are made here.

All mated pairs of a person (a face_id), at most 50, and 100,000 impostor pairs, drawn with a fixed
seed. Files: `aligned/USER/landmark_aligned_face.ID.NAME`, or `faces/USER/coarse_tilt_aligned_face...`.
"""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets.face_files import FileFaces
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.types import Rows

MOST_MATED, IMPOSTORS = 50, 100_000
KINDS = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}


def read_adience(folder: Path, name: str, faces: Path | None = None) -> FacePairs:
    """Raises ConfigError if faces are not where the fold files say, or no person has two."""
    root, prefix = _root(folder, faces)
    person: dict[str, str] = {}
    for fold in sorted(folder.glob("fold_[0-9]_data.txt")):
        person |= _fold(fold, prefix)
    present = sorted(path for path in person if (root / path).is_file())
    if not present:
        first = min(person, default="(the fold files are empty)")
        raise ConfigError(f"{folder}: none of its faces is below {root}, such as {first}")
    notes: tuple[str, ...] = ()
    if len(present) < len(person):
        notes = (f"{len(person) - len(present)} of {len(person)} faces are missing and left out",)
    people = np.array([person[path] for path in present])
    mated, impostors = _draw_pairs(people, np.random.default_rng(0))
    if not len(mated):
        raise ConfigError(f"{folder}: no person has two faces, so there are no mated pairs")
    pairs = np.concatenate((mated, impostors))
    return FacePairs(
        name,
        FileFaces(root, present),
        pairs[:, 0],
        pairs[:, 1],
        np.arange(len(pairs)) < len(mated),
        people[pairs[:, 0]],
        notes=notes,
    )


def _draw_pairs(people: npt.NDArray[np.str_], rng: np.random.Generator) -> tuple[Rows, Rows]:
    """people (N,) -> mated (M, 2) and impostor (I, 2) pairs, as rows of faces."""
    mated = []
    for identity in np.unique(people):
        own = list(combinations(np.flatnonzero(people == identity).tolist(), 2))
        chosen = rng.permutation(len(own))[:MOST_MATED]
        mated += [own[i] for i in sorted(chosen)]
    drawn = rng.integers(0, len(people), (2 * IMPOSTORS, 2))
    drawn = np.unique(np.sort(drawn[people[drawn[:, 0]] != people[drawn[:, 1]]], axis=1), axis=0)
    impostors = drawn[rng.permutation(len(drawn))[:IMPOSTORS]]
    return np.array(mated, np.intp).reshape(-1, 2), impostors


def _root(folder: Path, faces: Path | None) -> tuple[Path, str]:
    if faces is not None:
        return faces, KINDS.get(faces.name, KINDS["aligned"])
    for kind, prefix in KINDS.items():
        if (folder / kind).is_dir():
            return folder / kind, prefix
    raise ConfigError(f"{folder}: the fold files are there, but no folder aligned or faces")


def _fold(path: Path, prefix: str) -> dict[str, str]:
    """File name -> person."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                f"{row['user_id']}/{prefix}.{row['face_id']}.{row['original_image']}": row[
                    "face_id"
                ]
                for row in csv.DictReader(file, delimiter="\t")
            }
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except KeyError as exc:
        raise ConfigError(f"{path}: no column {exc.args[0]}, tab-separated") from exc
    except (ValueError, csv.Error) as exc:
        raise ConfigError(f"{path}: {exc}") from exc
