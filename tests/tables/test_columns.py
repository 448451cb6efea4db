"""Records as typed columns: nothing is lost on the way, and other programs read them."""

import math

import duckdb
import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.record import Record
from edge_fiqa.tables.columns import RECORD_SCHEMA, records_of, table_of
from tests.scoring.records import record

REASONS = Reasons(
    "hold still",
    (ReportedCause("motion_blur", "Sharpness", 21), ReportedCause("a_foreign_cause", None, 0)),
    {"motion_blur": 21, "yaw": 100, "a_foreign_cause": 0},
)


def face(source, **changes):
    """A record with a value in every field."""
    quality = msgspec.structs.replace(
        record(source).quality, raw=0.1 + 0.2, interval=(48, 52), scalar=50
    )
    exits = msgspec.structs.replace(
        record(source, exits=3).exit, scores=(math.pi, None, 1 / 3), depth=3
    )
    values = {
        "frame_time": 1.5,
        "box": (1.0, 2.0, 3.25, 4.0),
        "landmarks": tuple((float(k), k / 3) for k in range(5)),
        "quality": quality,
        "exit": exits,
        "reasons": REASONS,
        "warnings": ("looks odd", "é\n"),
    }
    return msgspec.structs.replace(record(source), **{**values, **changes})


RECORDS = [
    face("a"),
    face("c", reasons=Reasons(None, (), {"yaw": 99})),
    record("b", code="no_face", exits=3),
    record("b", 1, exits=3),
]


def test_a_record_comes_back_to_the_last_digit(tmp_path):
    pq.write_table(table_of(RECORDS), tmp_path / "part.parquet")
    assert records_of(pq.read_table(tmp_path / "part.parquet")) == RECORDS


def test_the_columns_are_those_of_the_json_record():
    """Fields and nesting follow the Struct, so that one that is added there is missed here."""

    def names(struct):
        return [field.name for field in msgspec.structs.fields(struct)]

    assert RECORD_SCHEMA.names == names(Record)
    for field in msgspec.structs.fields(Record):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            kind = RECORD_SCHEMA.field(field.name).type
            assert [kind.field(n).name for n in range(kind.num_fields)] == names(field.type)
    algorithm = RECORD_SCHEMA.field("quality").type.field("algorithm").type
    assert [algorithm.field(n).name for n in range(3)] == ["name", "version", "fingerprint"]


def test_reasons_are_texts_and_small_whole_numbers_that_may_be_null():
    kind = RECORD_SCHEMA.field("reasons").type
    reported = kind.field("reported").type.value_type
    assert [kind.field(n).name for n in range(3)] == ["instruction", "reported", "values"]
    assert [reported.field(n).name for n in range(3)] == ["cause", "component", "value"]
    assert kind.field("instruction").type == reported.field("component").type == pa.string()
    assert reported.field("value").type == kind.field("values").type.item_type == pa.int16()
    assert table_of(RECORDS)["reasons"].null_count == 2


def test_a_table_of_an_older_version_has_records_without_reasons(tmp_path):
    pq.write_table(table_of(RECORDS).drop_columns(["reasons"]), tmp_path / "part.parquet")
    expected = [msgspec.structs.replace(each, reasons=None) for each in RECORDS]
    assert records_of(pq.read_table(tmp_path / "part.parquet")) == expected


def test_no_records_make_an_empty_table_of_the_same_schema():
    assert table_of([]).schema == RECORD_SCHEMA
    assert table_of([]).num_rows == 0


def test_a_table_of_something_else_is_refused():
    with pytest.raises(msgspec.ValidationError):
        records_of(pa.table({"id": ["a"]}))


def test_other_programs_read_it(tmp_path):
    path = str(tmp_path / "part.parquet")
    pq.write_table(table_of(RECORDS), path)
    select = f"select id, quality.raw, exit.scores[3] from '{path}'"
    assert duckdb.sql(f"{select} where quality.code = 'ok' order by id").fetchall() == [
        ("a#0", 0.1 + 0.2, 1 / 3),
        ("b#1", 1.0, 1.0),
        ("c#0", 0.1 + 0.2, 1 / 3),
    ]
    select = "select reasons.instruction, reasons.reported[1].cause, reasons.values['yaw']"
    assert duckdb.sql(f"{select} from '{path}' order by id").fetchall() == [
        ("hold still", "motion_blur", 100),
        (None, None, None),
        (None, None, None),
        (None, None, 99),
    ]
    frame = pd.read_parquet(path)
    assert frame["quality"][0]["interval"].tolist() == [48, 52]
    assert frame["quality"][2]["scalar"] is None
    assert frame["warnings"][2].tolist() == ["b: it failed"]
