"""From what the user names to shards: pieces of the source that one worker scores on its own.

A tar of pictures (WebDataset), a run of row groups of a Parquet file, or a list of pictures that lie in
files of their own. A shard's key follows from its name, so that a second run knows what is done.
"""

from __future__ import annotations

import glob
import hashlib
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.formats import SUFFIXES
from edge_fiqa.faces.images import printable
from edge_fiqa.faces.paths import PassedOver, expand, listed_names
from edge_fiqa.tables.places import FilePlace, is_pattern, is_uri, matching, place_of, said

TARS = (".tar", ".tar.gz", ".tgz")
PARQUET = ".parquet"
FOOTERS_AT_ONCE = 16
PLAN_FOLDER = "_plan"

ShardKind = Literal["tar", "parquet", "files", "again"]


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """name: of the tar or Parquet file, as records show it. uri: where it is, "" for `files`.

    version: changes with the file. first, groups: row groups of Parquet.

    `again`: a part of `files`, whose unreadable pictures are tried once more.
    """

    kind: ShardKind
    key: str
    name: str
    uri: str
    version: str = "0" * 8
    first: int = 0
    groups: int = 0


def plan_file(shard: Shard) -> str:
    """Where the list of a shard's pictures stands, within the set."""
    return f"{PLAN_FOLDER}/{shard.kind}-{shard.key}.json"


class PictureNames(msgspec.Struct, frozen=True):
    """Names of pictures in files of their own, as records show them. query: of their file system."""

    names: list[str]
    query: str = ""


@dataclass
class Sources:
    """What the inputs are. pictures: names with their query, not read yet. containers: tars and Parquet
    files, with their names."""

    containers: list[tuple[str, FilePlace]] = field(default_factory=list)
    pictures: list[Iterator[tuple[str, str]]] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)


def sources_of(inputs: Sequence[str], stdin: TextIO) -> Sources:
    """Raises ConfigError for an input that does not exist or cannot be listed."""
    sources = Sources()
    for text in inputs:
        if not text:  # an unset shell variable; Path("") would be the current folder
            raise ConfigError("one of the paths is empty")
        names = list(listed_names(stdin)) if text == "-" else [text]
        for name in names:
            _add(sources, name, listed=text == "-")
    return sources


def _add(sources: Sources, name: str, listed: bool) -> None:
    if is_uri(name):
        _add_remote(sources, name)
    elif is_pattern(name) and not Path(name).exists():
        paths = sorted(glob.glob(name, recursive=True))  # noqa: PTH207, names stay as they are spelt
        if not paths:
            raise ConfigError(f"{name}: no file matches it")
        for path in paths:
            _add_local(sources, path)
    elif not listed and not Path(name).exists():
        raise ConfigError(f"{name}: No such file or directory")
    else:
        _add_local(sources, name)


def _add_local(sources: Sources, name: str) -> None:
    path = Path(name)
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if _is_container(file.name)):
            sources.containers.append((printable(file), _place_of_file(file)))
        images = expand([name], io.StringIO(), sources.passed_over)
        sources.pictures.append((printable(image), "") for image in images)
    elif _is_container(name):
        sources.containers.append((printable(path), _place_of_file(path)))
    else:
        sources.pictures.append(iter([(printable(path), "")]))


def _place_of_file(path: Path) -> FilePlace:
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        raise ConfigError(f"{printable(path)}: its name is not UTF-8; rename it") from exc
    return place_of(str(path))


def _add_remote(sources: Sources, uri: str) -> None:
    places = _remote_files(sources, uri)
    for is_container, group in itertools.groupby(places, key=lambda p: _is_container(p.path)):
        files = list(group)
        if is_container:
            sources.containers += [(file.name, file) for file in files]
        else:
            sources.pictures.append(iter([(file.name, file.query) for file in files]))


def _remote_files(sources: Sources, uri: str) -> list[FilePlace]:
    if is_pattern(uri):
        if not (places := matching(uri)):
            raise ConfigError(f"{uri}: no file matches it")
        return places
    place = place_of(uri)
    info = place.info()
    if info.is_file:
        return [place]
    places = []
    for entry in place.listed():
        name = Path(entry.path).name
        if not entry.is_file:
            continue
        if not name.startswith((".", "_")) and (_is_container(name) or _is_image_name(name)):
            places.append(place.at(entry.path))
        else:
            sources.passed_over.add(name)
    if not places:
        raise ConfigError(f"{place.name}: nothing there, or no pictures, tars or Parquet files")
    return places


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _is_container(name: str) -> bool:
    return name.lower().endswith((*TARS, PARQUET))


def container_shards(containers: Iterable[tuple[str, FilePlace]], per_file: int) -> Iterator[Shard]:
    """In the order given. Raises ConfigError for a file that is none, or that is named twice."""
    counted = Counter(name for name, _ in containers)
    if repeated := [name for name, count in counted.items() if count > 1]:
        raise ConfigError(f"{repeated[0]} is named twice; every shard once")
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        for shards in pool.map(lambda each: _shards_in(each[0], each[1], per_file), containers):
            yield from shards


def _shards_in(name: str, place: FilePlace, per_file: int) -> list[Shard]:
    info = place.info()
    if not info.is_file:
        raise ConfigError(f"{name}: No such file")
    version = digest(f"{info.size} {info.mtime_ns}")[:8]
    if name.lower().endswith(TARS):
        return [Shard(kind="tar", key=digest(name), name=name, uri=place.uri, version=version)]
    return [
        Shard(
            kind="parquet",
            key=digest(f"{name} {first}"),
            name=name,
            uri=place.uri,
            version=version,
            first=first,
            groups=groups,
        )
        for first, groups in _row_groups(name, place, per_file)
    ]


def _row_groups(name: str, place: FilePlace, per_file: int) -> list[tuple[int, int]]:
    """Runs of row groups, each the shortest of at least `per_file` rows: first, number."""
    try:
        with place.opened() as opened:
            metadata = pq.read_metadata(opened)
    except (OSError, pa.ArrowException) as exc:
        raise ConfigError(f"{name} is no whole Parquet file: {said(exc)}") from exc
    runs, first, rows = [], 0, 0
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        if rows >= per_file or group == metadata.num_row_groups - 1:
            runs.append((first, group + 1 - first))
            first, rows = group + 1, 0
    return runs


def picture_lists(
    pictures: Iterable[Iterator[tuple[str, str]]], per_file: int
) -> Iterator[PictureNames]:
    """Lists of at most `per_file` pictures, each of one file system."""
    for group in pictures:
        while names := list(itertools.islice(group, per_file)):
            yield PictureNames([name for name, _ in names], names[0][1])


def digest(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
