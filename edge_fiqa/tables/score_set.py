"""A Parquet data set of records: the folder, its parts, and the settings they were all made with.

Every part is one file that appears whole, under a name that follows from what is in it:

    part-KEY-GROUP-VERSION-00003.parquet        pictures 3 N to 4 N of one shard, such as a tar
    part-KEY-GROUP-VERSION-00004-last.parquet   the last of that shard: nothing of it is missing
    files-KEY.parquet                           pictures that lie in files of their own
    _edge_fiqa.json                             the settings (readers of Parquet pass over it)

KEY is of the name of a tar or Parquet file, GROUP the shard's first row group there (0 in a tar),
VERSION of the file's size and time. Whoever scores a shard again writes the same names. So each face
stands there once, however often a worker was killed and its work done anew.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import PARTIAL, locked
from edge_fiqa.record import Record
from edge_fiqa.tables.columns import RECORD_SCHEMA, table_of
from edge_fiqa.tables.places import FilePlace, place_of, said

SETTINGS_FILE = "_edge_fiqa.json"
PART = re.compile(r"part-([0-9a-f]{16})-(\d{5,})-([0-9a-f]{8})-(\d{5,})(-last)?\.parquet")
FILES = re.compile(r"files-([0-9a-f]{16})\.parquet")
MOST_ROWS_READ = 65_536
ADDED_COLUMNS = ("reasons",)
"""Which parts of older versions do not have."""


class PartName(NamedTuple):
    """Of one part of a shard. group: the first row group of the shard. number: from 0."""

    key: str
    group: int
    version: str
    number: int
    last: bool = False

    @property
    def file(self) -> str:
        shard = f"{self.key}-{self.group:05d}-{self.version}"
        return f"part-{shard}-{self.number:05d}{'-last' * self.last}.parquet"


def files_part(key: str) -> str:
    """The file of pictures that lie in files of their own."""
    return f"files-{key}.parquet"


class SetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the settings file. per_file: pictures of a part, the same for the whole set.

    endpoints: bucket of pictures -> the server that it lies on, "" for AWS.
    """

    schema: Literal["edge-fiqa-set/1"] = "edge-fiqa-set/1"
    per_file: int
    settings: dict[str, str]
    endpoints: dict[str, str] = {}


@dataclass
class SetContent:
    """What a set holds. parts: key -> its parts. files: keys of pictures in files of their own."""

    parts: dict[str, list[PartName]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.parts or self.files)

    def done(self, key: str, group: int, version: str) -> bool:
        """Whether every part of a shard is there, up to the last."""
        parts = self._parts(key, group, version)
        return any(part.last and self.begun(key, group, version) == n for n, part in parts.items())

    def begun(self, key: str, group: int, version: str) -> int:
        """How many parts of a shard are there before the first that is missing, or the last."""
        parts = self._parts(key, group, version)
        absent = (n for n in itertools.count() if n not in parts or parts[n].last)
        return next(absent)

    def _parts(self, key: str, group: int, version: str) -> dict[int, PartName]:
        parts = (p for p in self.parts.get(key, ()) if (p.group, p.version) == (group, version))
        return {part.number: part for part in parts}

    def stale(self, key: str, version: str) -> list[PartName]:
        """Parts of a tar or Parquet file that was another one then, of all its shards."""
        return [part for part in self.parts.get(key, ()) if part.version != version]


class ScoreSet:
    """A folder of parts, at a path or URI. Raises ConfigError where it cannot be read or written."""

    def __init__(self, uri: str) -> None:
        self.place = place_of(uri)

    def content(self) -> SetContent:
        content = SetContent()
        for info in self.place.listed(recursive=False):
            name = Path(info.path).name
            if part := PART.fullmatch(name):
                key, group, version, number, last = part.groups()
                parts = content.parts.setdefault(key, [])
                parts.append(PartName(key, int(group), version, int(number), last is not None))
            elif files := FILES.fullmatch(name):
                content.files.append(files[1])
        return content

    def settings(self) -> SetSettings | None:
        """None where there are none. Raises ConfigError if they are damaged."""
        place = self.place.child(SETTINGS_FILE)
        try:
            return msgspec.json.decode(place.read(), type=SetSettings)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as exc:
            raise ConfigError(f"{place.name} cannot be read: {said(exc)}") from exc

    def hold(self, held: ExitStack) -> None:
        """Make the folder, lock it where it is local, remove what a killed run left unfinished.

        Before anything there is read: what another run writes must stay.
        """
        self.place.make_folder()
        if self.place.local:
            folder = Path(self.place.path)
            busy = f"{folder} is being written by another run; wait for its end"
            try:
                held.enter_context(locked(folder / ".lock", busy))
                for partial in folder.glob(f".*{PARTIAL}"):
                    partial.unlink(missing_ok=True)
            except OSError as exc:
                raise self.unwritable(exc) from exc

    def keep(self, settings: SetSettings) -> None:
        self._put(SETTINGS_FILE, msgspec.json.format(msgspec.json.encode(settings), indent=1))

    def write(self, file: str, records: Sequence[Record]) -> None:
        """One part, whole or not at all."""
        data = io.BytesIO()
        pq.write_table(table_of(records), data, compression="zstd")
        self._put(file, data.getvalue())

    def holds(self, file: str) -> bool:
        return bool(self.place.child(file).info().is_file)

    def delete(self, files: Sequence[str]) -> None:
        for file in files:
            try:
                self.place.child(file).delete()
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise self.unwritable(exc) from exc

    def has_rows(self, files: Iterable[str]) -> bool:
        """Whether any of the parts holds a record. Raises ConfigError."""
        return any(self.table(file, ["id"]).num_rows for file in files)

    def table(self, file: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One part. Raises ConfigError."""
        place = self.place.child(file)
        try:
            with place.opened() as opened:
                return pq.read_table(opened, columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as exc:
            raise ConfigError(f"{place.name} cannot be read: {said(exc)}") from exc

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, a part at a time, in the order of the parts' names.

        Any Parquet file counts that has them: another program may have joined the parts. A part of an
        older version lacks `reasons`.
        Raises ConfigError for a folder without any, and for one of another schema.
        """
        for place in self.part_places():
            try:
                with place.opened() as opened, pq.ParquetFile(opened) as file:
                    there = _columns_there(place, file.schema_arrow, columns)
                    yield from file.iter_batches(MOST_ROWS_READ, columns=there)
            except (OSError, pa.ArrowException) as exc:
                raise ConfigError(f"{place.name} cannot be read: {said(exc)}") from exc

    def part_places(self) -> list[FilePlace]:
        """The Parquet files, or the one file that this is. Raises ConfigError where there is none."""
        if self.place.path.endswith(".parquet") and self.place.info().is_file:
            return [self.place]
        files = [
            info.path
            for info in self.place.listed()
            if info.path.endswith(".parquet") and not Path(info.path).name.startswith(("_", "."))
        ]
        if not files:
            raise ConfigError(
                f"{self.place.name}: no Parquet files of records; edge-fiqa score --on ray -o FOLDER "
                "writes them"
            )
        return [self.place.at(path) for path in files]

    def _put(self, file: str, data: bytes) -> None:
        try:
            self.place.child(file).write(data)
        except OSError as exc:
            raise self.unwritable(exc) from exc

    def unwritable(self, exc: BaseException) -> ConfigError:
        return ConfigError(f"{self.place.name} cannot be written: {said(exc)}")


def _columns_there(place: FilePlace, schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """Those that a part has. Raises ConfigError if it lacks one that every version wrote."""
    for column in RECORD_SCHEMA.names:
        if column not in schema.names and column not in ADDED_COLUMNS:
            raise ConfigError(
                f"{place.name} has no column {column}: it holds no records of edge-fiqa"
            )
    return [column for column in columns if column in schema.names]


def difference_of(kept: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Say in which setting two runs differ; None if in none."""
    for name in sorted({*kept, *now}):
        if kept.get(name) != now.get(name):
            return f"{name}: {kept.get(name)} there, {now.get(name)} now"
    return None
