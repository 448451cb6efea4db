"""Records as typed, nested columns of Arrow: the schema of Parquet files with edge-fiqa/1 in them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from edge_fiqa.record import Record

NUMBERS = pa.list_(pa.float64())
RECORD_SCHEMA = pa.schema(
    [
        ("schema", pa.string()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("frame_time", pa.float64()),
        ("box", NUMBERS),
        ("landmarks", pa.list_(NUMBERS)),
        (
            "quality",
            pa.struct(
                [
                    ("scalar", pa.int16()),
                    ("raw", pa.float64()),
                    ("interval", pa.list_(pa.int16())),
                    ("code", pa.string()),
                    (
                        "algorithm",
                        pa.struct(
                            [
                                ("name", pa.string()),
                                ("version", pa.string()),
                                ("fingerprint", pa.string()),
                            ]
                        ),
                    ),
                    ("calibration", pa.string()),
                ]
            ),
        ),
        (
            "exit",
            pa.struct(
                [
                    ("depth", pa.int16()),
                    ("reason", pa.string()),
                    ("scores", NUMBERS),
                    ("fusion", pa.string()),
                ]
            ),
        ),
        (
            "cost",
            pa.struct([("gflops", pa.float64()), ("ms", pa.float64()), ("mj", pa.float64())]),
        ),
        (
            "decision",
            pa.struct(
                [
                    ("gate", pa.int16()),
                    ("accepted", pa.bool_()),
                    ("risk", pa.float64()),
                    ("confidence", pa.float64()),
                ]
            ),
        ),
        (
            "reasons",
            pa.struct(
                [
                    ("instruction", pa.string()),
                    (
                        "reported",
                        pa.list_(
                            pa.struct(
                                [
                                    ("cause", pa.string()),
                                    ("component", pa.string()),
                                    ("value", pa.int16()),
                                ]
                            )
                        ),
                    ),
                    ("values", pa.map_(pa.string(), pa.int16())),
                ]
            ),
        ),
        ("warnings", pa.list_(pa.string())),
    ]
)
"""The names and the nesting of the JSON record; its arrays are lists.

`reasons.values` is a map, so that models that read other causes have the same columns.
"""


def table_of(records: Sequence[Record]) -> pa.Table:
    """One row per record, in order. Nothing is rounded."""
    return pa.Table.from_pylist([msgspec.to_builtins(r) for r in records], schema=RECORD_SCHEMA)


def records_of(table: pa.Table | pa.RecordBatch) -> list[Record]:
    """The records in a table of this schema, or of an older version's, without `reasons`.

    Raises msgspec.ValidationError for another one.
    """
    return [msgspec.convert(row, Record) for row in table.to_pylist(maps_as_pydicts="strict")]
