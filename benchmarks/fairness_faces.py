"""The faces of `fairness.py`: sets, who is on them, and what their data say of age, sex and race."""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from common import read_faces

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.images import decode_bytes
from edge_fiqa.training.pictures import read_rows
from edge_fiqa.types import Bytes

UTKFACE = "utkface"
SEXES = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
"""UTKFace's own words, in its order: guessed from the picture by an algorithm and looked over by
people (Zhang, Song and Qi, CVPR 2017), not said by the persons themselves."""
AGES = ((2, "0-2"), (12, "3-12"), (19, "13-19"), (39, "20-39"), (59, "40-59"), (116, "60+"))
OLDEST = AGES[-1][0]
NAMED = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)\.?jpg(\.chip\.jpg)?")
SORTED = re.compile(r"labeled/(\d)\.([01])/(\d+)\.jpg")


@dataclass(frozen=True)
class Labels:
    """What is known of a face; None where its data do not say, or contradict themselves."""

    sex: str | None = None
    age: str | None = None
    race: str | None = None


@dataclass(frozen=True)
class SourceFaces:
    """N faces of one source. persons: N names; a face of unknown identity has one of its own.

    known: N, whether the data name the person. trained: how many are of persons of `splits/train.csv`.
    """

    source: str
    faces: Bytes
    persons: list[str]
    labels: list[Labels]
    known: list[bool]
    trained: int = 0


def age_band(age: int) -> str:
    return next(name for last, name in AGES if age <= last)


def name_labels(name: str) -> tuple[int, int, int, str] | None:
    """`[age]_[sex]_[race]_[time].jpg` -> age, sex, race and time; None for any other name.

    Three of UTKFace's names lack the race.
    """
    match = NAMED.fullmatch(name)
    if match is None or int(match[1]) > OLDEST:
        return None
    return int(match[1]), int(match[2]), int(match[3]), match[4]


def age_class(age: int) -> int:
    """0 to 9, as mattans/AgeProgression sorts UTKFace into folders `[age class].[sex]`."""
    return max(0, (age - 1) // 5) if age <= 20 else min(4 + (age - 21) // 10, 9)


def sorted_names(names: list[str]) -> dict[tuple[int, int, str], set[tuple[int, int, int, str]]]:
    """(age class, sex, time) -> the labels of all published names that are sorted there."""
    places: dict[tuple[int, int, str], set[tuple[int, int, int, str]]] = {}
    for name in names:
        if (labels := name_labels(name)) is not None:
            age, sex, _, time = labels
            places.setdefault((age_class(age), sex, time), set()).add(labels)
    return places


def utkface_labels(path: str, places: dict) -> Labels:
    """Of a face's path in the source repository, with what `sorted_names` knows of sorted ones."""
    direct = name_labels(path.rpartition("/")[2])
    place = SORTED.search(path)
    if direct is None and place is None:
        return Labels()
    key = (int(place[1]), int(place[2]), place[3]) if place else None
    possible = {direct} if direct else places.get(key, set())
    sex = direct[1] if direct else int(place[2])
    return Labels(
        SEXES[sex],
        the_only({age_band(labels[0]) for labels in possible}),
        the_only({RACES[labels[2]] for labels in possible}),
    )


def the_only(values: set[str]) -> str | None:
    return values.pop() if len(values) == 1 else None


def more_sets(data: Path, names: Path | None, limit: int) -> Iterator[SourceFaces]:
    """Every set of DATA/more: all of UTKFace, at most `limit` faces of the others, evenly spread."""
    folder = data / "more"
    notes = {(r["shard"], r["member"]): r for r in read_rows(folder / "notes.csv")}
    places = sorted_names([] if names is None else read_names(names))
    by_set: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(folder / "faces.csv"):
        by_set.setdefault(row["dataset"], []).append(row)
    for source, rows in sorted(by_set.items()):
        if source != UTKFACE:
            chosen = np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)
            rows = [rows[row] for row in chosen]
        keys = [(row["shard"], row["member"]) for row in rows]
        yield SourceFaces(
            f"more/{source}",
            read_shards(folder, keys),
            [row["identity"] or "/".join(key) for row, key in zip(rows, keys, strict=True)],
            [
                utkface_labels(notes[key]["source_path"], places) if source == UTKFACE else Labels()
                for key in keys
            ],
            [bool(row["identity"]) for row in rows],
            sum(bool(notes[key]["train_identity"]) for key in keys),
        )


def read_names(path: Path) -> list[str]:
    """File names of UTKFace as it was published, one a line, in any folder."""
    names = [line.rpartition("/")[2] for line in path.read_text(encoding="utf-8").split()]
    if not any(name_labels(name) for name in names):
        raise ConfigError(
            f"{path}: no name like 26_1_3_20170104235639459.jpg.chip.jpg in it; "
            "list the files of UTKFace, one a line"
        )
    return names


def read_shards(folder: Path, keys: list[tuple[str, str]]) -> Bytes:
    """(N, 112, 112, 3) uint8 RGB of the members of tar shards, in order."""
    faces = []
    for shard, members in groupby(keys, key=itemgetter(0)):
        with tarfile.open(folder / shard, "r:") as tar:
            for _, member in members:
                data = tar.extractfile(member).read()
                faces.append(decode_bytes(data, f"{shard}/{member}"))
    return np.stack(faces)


def list_set(data: Path, source: str, paths: list[str]) -> SourceFaces:
    """Faces of a test list, whose persons are known: those of one folder are one person's."""
    persons = [str(Path(path).parent) for path in paths]
    labels, known = [Labels()] * len(paths), [True] * len(paths)
    return SourceFaces(source, read_faces(data, paths), persons, labels, known)
