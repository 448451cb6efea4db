"""Which faces there are to learn from, and who is on them: lists, folders, and tar shards.

A shard is never unpacked: its members are read where they lie, by offset and size.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edge_fiqa.errors import ConfigError
from edge_fiqa.training.labels import Bools, Ints
from edge_fiqa.training.memory import remembered
from edge_fiqa.training.recipe import FaceSource
from edge_fiqa.types import IMAGE, Bytes

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
Row = dict[str, str]


@dataclass(frozen=True)
class Picture:
    """A file, or `size_bytes` of one from `offset` on. person: None where nobody knows.

    own_defects: see FaceSource.
    """

    name: str
    person: str | None
    path: Path
    offset: int = 0
    size_bytes: int = -1  # to the end
    own_defects: bool = False

    def pixels(self) -> Bytes:
        """(112, 112, 3) uint8 RGB. Raises ValueError with a reason if it is not such an image."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size_bytes)
        except OSError as exc:
            raise ValueError(exc.strerror) from exc
        if not data or len(data) < self.size_bytes:
            raise ValueError("absent or cut off")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None or image.shape != (IMAGE, IMAGE, 3):
            size = "" if image is None else f", but {image.shape[1]}x{image.shape[0]}"
            raise ValueError(f"not a readable {IMAGE}x{IMAGE} image{size}")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


@dataclass(frozen=True)
class PictureList:
    """The pictures of one source, in an order that its files alone decide."""

    source: Path
    pictures: tuple[Picture, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Of names and sizes: what a cache is named after, wherever the data lie."""
        told = [(p.name, p.size_bytes) for p in self.pictures]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class FaceList:
    """N faces of all sources, one source after the other.

    identity: (N,) integers, equal for equal persons; a face without a name has a number of its own.
    labelled: (N,) whether a name is known. own_defects: (N,), see FaceSource.
    """

    lists: tuple[PictureList, ...]
    identity: Ints
    labelled: Bools
    own_defects: Bools

    def __len__(self) -> int:
        return len(self.identity)


def list_faces(
    sources: Sequence[FaceSource], root: Path, exclude: Sequence[str] = (), *, cache: Path
) -> FaceList:
    """The faces of every source; paths are relative to `root`.

    exclude: lists (CSV) whose persons must not be trained on. cache: remembers what is in each shard,
    so that shards whose faces have all been read need not be there. Raises ConfigError if a person of
    `exclude` is here, if a source is empty, or if no person has two faces, since then no label can be
    computed.
    """
    lists = tuple(_list(source, root, cache) for source in sources)
    names = [picture.person for one in lists for picture in one.pictures]
    same = [pair for source in sources for pair in _same_persons(source, root)]
    named = sorted({name for name in names if name} | {name for pair in same for name in pair})
    number = _numbers(named, same)
    for path in exclude:
        _refuse_persons_of(root / path, number, sources)
    alone = iter(range(len(named), len(named) + len(names)))
    identity = np.array([number[name] if name else next(alone) for name in names])
    labelled = np.array([name is not None for name in names])
    identity = np.unique(identity, return_inverse=True)[1].astype(np.int64)
    if not labelled.any() or np.bincount(identity[labelled]).max() < 2:
        raise ConfigError(
            f"{', '.join(str(root / source.list) for source in sources)}: no person has two faces; "
            "labels compare faces of one person"
        )
    own_defects = np.array([picture.own_defects for one in lists for picture in one.pictures])
    return FaceList(lists, identity, labelled, own_defects)


def _list(source: FaceSource, root: Path, cache: Path) -> PictureList:
    path = root / source.list
    is_list = path.suffix == ".csv"
    pictures = _from_csv(path, root, source, cache) if is_list else _from_folder(path, source)
    if not pictures:
        raise ConfigError(
            f"{path}: no faces; expected a CSV with columns path,dataset,identity or "
            "shard,member,dataset,identity, or a folder with one folder of images a person"
        )
    return PictureList(path, tuple(pictures))


def _from_folder(folder: Path, settings: FaceSource) -> list[Picture]:
    _check_own_defects(folder, [], settings)
    files = [path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in SUFFIXES]
    return [Picture(str(path.relative_to(folder)), path.parent.name, path) for path in files]


def _from_csv(source: Path, root: Path, settings: FaceSource, cache: Path) -> list[Picture]:
    rows = read_rows(source)
    _check_own_defects(source, rows, settings)
    if rows and {"shard", "member", "identity"} <= rows[0].keys():
        return _from_shards(source, rows, settings, cache)
    if rows and not {"path", "identity"} <= rows[0].keys():
        raise ConfigError(
            f"{source}: expected columns path,dataset,identity or shard,member,dataset,identity, "
            f"got {list(rows[0])}"
        )
    return [
        Picture(
            row["path"],
            _person(row, settings),
            root / row["path"],
            own_defects=_has_own_defects(row, settings),
        )
        for row in rows
    ]


def _from_shards(source: Path, rows: list[Row], settings: FaceSource, cache: Path) -> list[Picture]:
    """Shards lie beside their list. A member that its shard lacks is a picture of no bytes."""
    members: dict[str, dict[str, tuple[int, int]]] = {}
    for name in dict.fromkeys(row["shard"] for row in rows):
        data = remembered(source.parent / name, "members", _members, cache)
        members[name] = json.loads(data)
    pictures = []
    for row in rows:
        offset, size = members[row["shard"]].get(row["member"], (0, 0))
        name, path = f"{row['shard']}/{row['member']}", source.parent / row["shard"]
        person, defects = _person(row, settings), _has_own_defects(row, settings)
        pictures.append(Picture(name, person, path, offset, size, defects))
    return pictures


def _members(shard: Path) -> bytes:
    """Offset and size of every file in a tar, as JSON."""
    try:
        with tarfile.open(shard, "r:") as tar:
            places = {m.name: (m.offset_data, m.size) for m in tar.getmembers() if m.isreg()}
    except FileNotFoundError:
        raise
    except (OSError, tarfile.TarError) as exc:
        raise ConfigError(f"{shard}: not a readable tar shard ({exc}); fetch it again") from exc
    return json.dumps(places).encode()


def _person(row: Row, settings: FaceSource) -> str | None:
    """`dataset/identity`, by the name that a person of that data set has elsewhere."""
    if not row["identity"]:
        return None
    dataset = row.get("dataset") or ""
    return f"{settings.same_names.get(dataset, dataset)}/{row['identity']}"


def _check_own_defects(source: Path, rows: list[Row], settings: FaceSource) -> None:
    known = {row.get("dataset") or "" for row in rows}
    if unknown := sorted(set(settings.own_defects) - known):
        raise ConfigError(
            f"{source}: own_defects names {', '.join(unknown)}, and no face there is of that data set"
        )


def _has_own_defects(row: Row, settings: FaceSource) -> bool:
    return row.get("dataset") in settings.own_defects


def _same_persons(source: FaceSource, root: Path) -> list[tuple[str, str]]:
    """Pairs of names of one person, as the source's `persons` list says."""
    if source.persons is None:
        return []
    named = {
        (row["shard"], row["member"]): _person(row, source) for row in read_rows(root / source.list)
    }
    rows = read_rows(root / source.persons)
    if rows and not {"shard", "member", "train_identity"} <= rows[0].keys():
        raise ConfigError(f"{root / source.persons}: expected columns shard,member,train_identity")
    pairs = {(named.get((row["shard"], row["member"])), row["train_identity"]) for row in rows}
    return sorted((a, b) for a, b in pairs if a and b)


def _numbers(names: Sequence[str], same: Sequence[tuple[str, str]]) -> dict[str, int]:
    """A number for every name, equal for names that a chain of pairs joins."""
    index = {name: row for row, name in enumerate(names)}
    a, b = ([index[pair[side]] for pair in same] for side in (0, 1))
    graph = coo_matrix((np.ones(len(same)), (a, b)), shape=(len(names), len(names)))
    return dict(zip(names, connected_components(graph, directed=False)[1].tolist(), strict=True))


def _refuse_persons_of(path: Path, number: dict[str, int], sources: Sequence[FaceSource]) -> None:
    """Raises ConfigError if a person of this list is among the numbered ones."""
    same_names = {old: new for source in sources for old, new in source.same_names.items()}
    settings = FaceSource(list=str(path), same_names=same_names)
    persons = {_person(row, settings) for row in read_rows(path)}
    if shared := sorted(name for name in persons if name in number):
        raise ConfigError(
            f"{path}: {len(shared)} of its persons are among the training faces, {shared[0]!r} for "
            "one; take them out of the training list"
        )


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV with a header. Raises ConfigError naming the file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise ConfigError(f"{path}: not a readable CSV ({exc})") from exc
