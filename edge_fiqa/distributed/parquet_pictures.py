"""The pictures in a column of a Parquet file, and what its rows are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edge_fiqa.distributed.shard_picture import ShardPicture
from edge_fiqa.distributed.shards import Shard
from edge_fiqa.errors import ConfigError
from edge_fiqa.tables.places import FilePlace, said

ROWS_AT_ONCE = 64
USUAL_NAMES = ("image", "jpg", "jpeg", "png", "webp", "img", "picture", "face", "bytes")


@dataclass(frozen=True)
class ParquetColumns:
    """image, id: names of columns; None: the one that holds pictures; rows are numbered."""

    image: str | None = None
    id: str | None = None


def pictures_of_parquet(
    shard: Shard, place: FilePlace, columns: ParquetColumns
) -> Iterator[ShardPicture]:
    """Raises ConfigError for columns that will not do, and where the file cannot be read now.

    What is damaged in it is a refused picture.
    """
    row = None
    try:
        with place.opened() as opened, pq.ParquetFile(opened) as file:
            image = _image_column(shard.name, file.schema_arrow, columns.image)
            wanted = [image]
            if columns.id is not None:
                wanted.append(columns.id)
                _check_ids(shard, file, columns.id)
            metadata = file.metadata
            row = sum(metadata.row_group(group).num_rows for group in range(shard.first))
            groups = list(range(shard.first, shard.first + shard.groups))
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=wanted):
                for values in batch.to_pylist():
                    key = row if columns.id is None else values[columns.id]
                    if key is None:
                        raise ConfigError(_without_a_name(shard.name, columns.id, row))
                    yield _row_picture(f"{shard.name}/{key}", values[image])
                    row += 1
    except (OSError, pa.ArrowException) as exc:
        if row is None or not place.local or getattr(exc, "errno", None) is not None:
            raise ConfigError(f"{shard.name} cannot be read: {said(exc)}") from exc
        reason = f"{shard.name} is damaged from row {row} on: {said(exc)}"
        yield ShardPicture(f"{shard.name}/row {row}", refusal=reason)


def _row_picture(name: str, value: Any) -> ShardPicture:
    if isinstance(value, dict):
        if value["bytes"] is None:
            reason = f"{name}: the row has a path and no bytes; write the pictures into the file"
            return ShardPicture(name, refusal=reason)
        value = value["bytes"]
    if value is None:
        return ShardPicture(name, refusal=f"{name}: the row has no picture in it")
    data = bytes(value)
    return ShardPicture(name, read=lambda: data)


def _image_column(name: str, schema: pa.Schema, column: str | None) -> str:
    """The column of encoded pictures: bytes, or a struct with bytes as in Hugging Face's data sets."""
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    if column is not None:
        kind = _type_of(name, schema, column)
        if column not in holding:
            others = f"; {', '.join(holding)} would do" if holding else ""
            raise ConfigError(
                f"{name}: --image-column {column} is of type {kind}, and must hold encoded pictures as "
                f"bytes, or a struct with bytes{others}"
            )
        return column
    usual = [each for each in USUAL_NAMES if each in holding]
    if usual or len(holding) == 1:
        return (usual or holding)[0]
    what = f"which of {', '.join(holding)} holds the pictures" if holding else "no column of bytes"
    raise ConfigError(f"{name}: {what}; give --image-column")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(f.name == "bytes" and _is_bytes(f.type) for f in kind)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests)


def _type_of(name: str, schema: pa.Schema, column: str) -> pa.DataType:
    if schema.names.count(column) != 1:
        raise ConfigError(
            f"{name} has {'no' if column not in schema.names else 'more than one'} column {column}; it "
            f"has {', '.join(schema.names)}"
        )
    return schema.field(column).type


def _check_ids(shard: Shard, file: pq.ParquetFile, column: str) -> None:
    """Raise ConfigError for names that are none. One shard of each file reads the whole column."""
    kind = _type_of(shard.name, file.schema_arrow, column)
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)
    if not any(test(value) for test in tests):
        raise ConfigError(
            f"{shard.name}: --id-column {column} is of type {kind}, and must be text or whole numbers"
        )
    if shard.first > 0:
        return
    keys = file.read([column])[column].cast(value)
    if keys.null_count:
        row = pc.index(pc.is_null(keys), True).as_py()
        raise ConfigError(_without_a_name(shard.name, column, row))
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        raise ConfigError(
            f"{shard.name}: {repeated['counts']} rows have {repeated['values']} in --id-column "
            f"{column}; make its values unique, or leave the flag out: rows are numbered then"
        )


def _without_a_name(name: str, column: str | None, row: int) -> str:
    return (
        f"{name}: row {row} has no value in --id-column {column}; give each row one, or leave the flag "
        "out: rows are numbered then"
    )
