"""From what the user names to shards: pieces of the source that one worker scores on its own.

A tar of pictures (WebDataset), a run of row groups of a Parquet file, or a list of pictures that lie in
files of their own. A shard's key follows from its name, so that a second run knows what is done.
"""

from __future__ import annotations

import glob
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from edge_fiqa.distributed.digests import digest
from edge_fiqa.errors import ConfigError, shown
from edge_fiqa.faces.formats import SUFFIXES
from edge_fiqa.faces.images import printable
from edge_fiqa.faces.paths import PassedOver, expand, listed_names
from edge_fiqa.tables.places import FilePlace, is_pattern, is_uri, matching, place_of, said
from edge_fiqa.tables.score_set import PartName

TARS = (".tar", ".tar.gz", ".tgz")
PARQUET = ".parquet"
FOOTERS_AT_ONCE = 16
PLAN_FOLDER = "_plan"

NameAndQuery = tuple[str, str]
ShardKind = Literal["tar", "parquet", "files", "again"]


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """name: of the tar or Parquet file, as records show it. uri: where it is, "" for `files`.

    version: changes with the file. first, groups: row groups of Parquet. begun: parts that an earlier
    run wrote.

    `again`: a part of `files`, whose unreadable pictures are tried once more.
    """

    kind: ShardKind
    key: str
    name: str
    uri: str
    version: str = "0" * 8
    first: int = 0
    groups: int = 0
    begun: int = 0

    def part(self, number: int, last: bool = False) -> PartName:
        return PartName(self.key, self.first, self.version, number, last)


def plan_file(shard: Shard) -> str:
    """Where the list of a shard's pictures stands, within the set."""
    return f"{PLAN_FOLDER}/{shard.kind}-{shard.key}.json"


class PictureNames(msgspec.Struct, frozen=True):
    """Names of pictures in files of their own, as records show them. query: of their file system.

    queries: name -> query, of those that lie in another one.
    """

    names: list[str]
    query: str = ""
    queries: dict[str, str] = {}

    def query_of(self, name: str) -> str:
        return self.queries.get(name, self.query)


@dataclass
class Sources:
    """What the inputs are. pictures: names with their query, not read yet.

    containers: tars and Parquet files, with their names; all of them once `pictures` was walked to its
    end. several: whether the same file may come twice.
    endpoints: bucket -> the server that it lies on, "" for AWS: of the set, and of what was walked.
    """

    containers: list[tuple[str, FilePlace]] = field(default_factory=list)
    pictures: Iterator[NameAndQuery] = field(default_factory=lambda: iter(()))
    passed_over: PassedOver = field(default_factory=PassedOver)
    several: bool = False
    endpoints: dict[str, str] = field(default_factory=dict)

    def note_endpoint(self, place: FilePlace) -> None:
        """Raise ConfigError for a bucket on two servers: records name its pictures alike."""
        first = self.endpoints.setdefault(place.bucket, place.endpoint)
        if first != place.endpoint:
            raise ConfigError(
                f"{place.prefix}{place.bucket} is at {first or 'AWS'} in this set, and is named at "
                f"{place.endpoint or 'AWS'} too: records would not tell their pictures apart; score "
                "each into an --output of its own"
            )

    def check_columns(self, columns: Mapping[str, str | None]) -> None:
        """Raise ConfigError for a flag of Parquet's columns where no Parquet file was named."""
        stated = [flag for flag, column in columns.items() if column is not None]
        if stated and not any(name.lower().endswith(PARQUET) for name, _ in self.containers):
            raise ConfigError(f"{stated[0]} is about Parquet files of pictures: there are none")


def sources_of(inputs: Sequence[str], stdin: TextIO) -> Sources:
    """Raises ConfigError for an input that does not exist, and while walked for what cannot be listed.

    Names in a list are taken as they are. One that is absent becomes a record, not the run's end.
    """
    for text in inputs:
        if not text:  # an unset shell variable; Path("") would be the current folder
            raise ConfigError("one of the paths is empty")
        if is_uri(text):
            place_of(text)  # refuses a password and a scheme that is not supported
        elif text != "-":
            _check_there(text)
    several = len(inputs) > 1 or inputs[0] == "-" or is_pattern(inputs[0])
    sources = Sources(several=several)
    sources.pictures = _pictures(sources, inputs, stdin)
    return sources


def _check_there(name: str) -> None:
    if os.path.lexists(name):
        return
    if not is_pattern(name):
        raise ConfigError(f"{shown(name)}: No such file or directory")
    if next(glob.iglob(name, recursive=True), None) is None:  # noqa: PTH207, names as they are spelt
        raise ConfigError(f"{shown(name)}: no file matches it")


def _pictures(sources: Sources, inputs: Sequence[str], stdin: TextIO) -> Iterator[NameAndQuery]:
    for text in inputs:
        if is_uri(text):
            yield from _remote_pictures(sources, _remote_files(sources, text))
        elif text == "-":
            for name in listed_names(stdin):
                yield from _listed_pictures(sources, name)
        elif is_pattern(text) and not os.path.lexists(text):
            for path in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207, as above
                yield from _local_pictures(sources, path)
        else:
            yield from _local_pictures(sources, text)


def _listed_pictures(sources: Sources, name: str) -> Iterator[NameAndQuery]:
    if not is_uri(name):
        return _local_pictures(sources, name)
    place = place_of(name)
    sources.note_endpoint(place)  # before its server is asked
    single = _is_image_name(place.path)  # a request for each only to ask whether it is there: no
    return _remote_pictures(sources, [place] if single else _files_below(sources, place))


def _local_pictures(sources: Sources, name: str) -> Iterator[NameAndQuery]:
    paths: Iterable[Path] = (Path(name),)
    if os.path.isdir(name):  # noqa: PTH112, Path.is_dir raises for long and forbidden names
        paths = expand([name], io.StringIO(), sources.passed_over, _is_container)
    for path in paths:
        if _is_container(path.name) and os.path.isfile(path):  # noqa: PTH113, as above
            sources.containers.append((printable(path), _place_of_file(path)))
        else:
            yield printable(path), ""


def _place_of_file(path: Path) -> FilePlace:
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        raise ConfigError(f"{printable(path)}: its name is not UTF-8; rename it") from exc
    return place_of(str(path))


def _remote_pictures(sources: Sources, places: Iterable[FilePlace]) -> Iterator[NameAndQuery]:
    for place in places:
        sources.note_endpoint(place)
        if _is_container(place.path):
            sources.containers.append((place.name, place))
        else:
            yield place.name, place.query


def _remote_files(sources: Sources, uri: str) -> list[FilePlace]:
    if is_pattern(uri):
        if not (places := matching(uri)):
            raise ConfigError(f"{uri}: no file matches it")
        return places
    return _files_below(sources, place_of(uri))


def _files_below(sources: Sources, place: FilePlace) -> list[FilePlace]:
    if place.info().is_file:
        return [place]
    places = []
    for entry in place.listed():
        if not entry.is_file:
            continue
        name, below = Path(entry.path).name, entry.path.removeprefix(place.path)
        hidden = any(part.startswith(".") for part in below.split("/"))
        if not hidden and (_is_container(name) or _is_image_name(name)):
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
    """In the order given, each file once. Raises ConfigError for a file that is none."""
    once: dict[str, tuple[str, FilePlace]] = {}
    for name, place in containers:
        once.setdefault(place.name, (name, place))
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        for shards in pool.map(lambda each: _shards_in(each[0], each[1], per_file), once.values()):
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
            key=digest(name),
            name=name,
            uri=place.uri,
            version=version,
            first=first,
            groups=groups,
        )
        for first, groups in _row_groups(name, place, per_file)
    ]


def _row_groups(name: str, place: FilePlace, per_file: int) -> list[tuple[int, int]]:
    """Runs of row groups, each the shortest of at least `per_file` rows: first, number. Never none."""
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
    return runs or [(0, 0)]


def picture_lists(pictures: Iterable[NameAndQuery], per_file: int) -> Iterator[PictureNames]:
    """Lists of `per_file` pictures, each of one file system, whose last list may be shorter."""
    for (_, query), group in itertools.groupby(pictures, key=lambda p: (is_uri(p[0]), p[1])):
        while names := [name for name, _ in itertools.islice(group, per_file)]:
            yield PictureNames(names, query)
