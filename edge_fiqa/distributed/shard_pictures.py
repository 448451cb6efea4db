"""The pictures in a shard, one after the other, as they are read: never all of them in memory."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edge_fiqa.distributed.shards import PictureNames, Shard
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.formats import SNIFFED_BYTES, SUFFIXES, looks_like_image
from edge_fiqa.faces.images import path_of
from edge_fiqa.tables.places import FilePlace, is_uri, place_of, said

BUFFER_BYTES = 1 << 22
ROWS_AT_ONCE = 64
USUAL_NAMES = ("image", "jpg", "jpeg", "png", "webp", "img", "picture", "face", "bytes")


@dataclass(frozen=True)
class ShardPicture:
    """name: as records show it. One of: path, of a local file; read, its bytes; refusal, why there are
    none."""

    name: str
    path: Path | None = None
    read: Callable[[], bytes] | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class ParquetColumns:
    """image, id: names of columns; None: the one that holds pictures; rows are numbered."""

    image: str | None = None
    id: str | None = None


def pictures_in(shard: Shard, columns: ParquetColumns) -> Iterator[ShardPicture]:
    """Raises ConfigError where the file cannot be read now; what is damaged in it is a refused one."""
    place = place_of(shard.uri)
    pictures = _of_tar(shard, place) if shard.kind == "tar" else _of_parquet(shard, place, columns)
    seen: Counter[str] = Counter()
    for picture in pictures:
        seen[picture.name] += 1
        if (times := seen[picture.name]) > 1:  # ids stay unique
            name = f"{picture.name} ({times})"
            picture = ShardPicture(name, picture.path, picture.read, picture.refusal)
        yield picture


def listed_pictures(listed: PictureNames) -> Iterator[ShardPicture]:
    for name in listed.names:
        if is_uri(name):
            yield ShardPicture(name, read=place_of(f"{name}{listed.query}").read)
        else:
            yield ShardPicture(name, path=path_of(name))


class _TarMember(tarfile.TarInfo):
    """TarFile.next takes a header that is damaged or cut off for the archive's end; this says it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarMember:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as exc:
            raise tarfile.ReadError(str(exc)) from exc


def _of_tar(shard: Shard, place: FilePlace) -> Iterator[ShardPicture]:
    """Pictures by suffix or first bytes; after the last whole one, a refusal if it is cut off."""
    current = shard.name
    try:
        with (
            place.opened() as opened,
            tarfile.open(
                fileobj=opened, mode="r|*", bufsize=BUFFER_BYTES, tarinfo=_TarMember
            ) as archive,
        ):
            for member in archive:
                current = shard.name
                if not member.isreg() or Path(member.name).name.startswith("."):
                    continue
                file = archive.extractfile(member)
                assert file is not None  # it is a regular file
                current = f"{shard.name}/{_printable_member(member.name)}"
                head = file.read(SNIFFED_BYTES)
                if Path(member.name).suffix.lower() in SUFFIXES or looks_like_image(head):
                    data = head + file.read()
                    yield ShardPicture(current, read=lambda data=data: data)  # type: ignore[misc]
    except (tarfile.TarError, EOFError, pa.ArrowInvalid, ValueError) as exc:
        yield ShardPicture(current, refusal=f"{shard.name} is damaged or cut off: {said(exc)}")
    except OSError as exc:
        if not place.local or isinstance(exc, (FileNotFoundError, PermissionError)):
            raise ConfigError(f"{shard.name} cannot be read: {said(exc)}") from exc
        yield ShardPicture(current, refusal=f"{shard.name} is damaged or cut off: {said(exc)}")


def _printable_member(name: str) -> str:
    return name.removeprefix("./").encode("utf-8", "backslashreplace").decode()


def _of_parquet(shard: Shard, place: FilePlace, columns: ParquetColumns) -> Iterator[ShardPicture]:
    row = None
    try:
        with place.opened() as opened, pq.ParquetFile(opened) as file:
            image = columns.image or _image_column(shard.name, file.schema_arrow)
            wanted = [image] if columns.id is None else [image, columns.id]
            _check_columns(shard.name, file.schema_arrow, wanted)
            metadata = file.metadata
            row = sum(metadata.row_group(group).num_rows for group in range(shard.first))
            groups = list(range(shard.first, shard.first + shard.groups))
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=wanted):
                for values in batch.to_pylist():
                    key = row if columns.id is None else values[columns.id]
                    yield _row_picture(f"{shard.name}/{key}", values[image])
                    row += 1
    except (OSError, pa.ArrowException) as exc:
        if row is None or not place.local:
            raise ConfigError(f"{shard.name} cannot be read: {said(exc)}") from exc
        reason = f"{shard.name} is damaged from row {row} on: {said(exc)}"
        yield ShardPicture(f"{shard.name}/{row}", refusal=reason)


def _row_picture(name: str, value: Any) -> ShardPicture:
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, (bytes, bytearray)):
        return ShardPicture(name, read=lambda: bytes(data))
    return ShardPicture(name, refusal=f"{name}: the row has no picture in it")


def _image_column(name: str, schema: pa.Schema) -> str:
    """The column of encoded pictures: bytes, or a struct with bytes as in Hugging Face's data sets."""
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    usual = [column for column in USUAL_NAMES if column in holding]
    if usual or len(holding) == 1:
        return (usual or holding)[0]
    what = f"which of {', '.join(holding)} holds the pictures" if holding else "no column of bytes"
    raise ConfigError(f"{name}: {what}; give --image-column")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(f.name == "bytes" and _holds_bytes(f.type) for f in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_columns(name: str, schema: pa.Schema, wanted: list[str]) -> None:
    for column in wanted:
        if column not in schema.names:
            raise ConfigError(f"{name} has no column {column}; it has {', '.join(schema.names)}")
