"""The forms in which records are written."""

import csv
import io
import json

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.scoring.output import STDOUT, StreamWriter, TableWriter, csv_header, encode, shown
from tests.scoring.records import record

NAMES = ["a", "b\nc", "d\re", 'f"g,h', "é", "tab\t"]


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_from_ndjson_and_csv_as_they_are(name):
    (line,) = encode([record(name)], "ndjson").split(b"\n")[:-1]
    assert json.loads(line)["source"] == name
    text = (csv_header(record(name)) + encode([record(name)], "csv")).decode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert (row["source"], row["id"]) == (name, f"{name}#0")


@pytest.mark.parametrize("name", ["b\nc", "d\re", "\x1b[31mred", "a\u202eb"])
def test_a_name_takes_one_line_of_the_table_and_steers_no_terminal(name):
    for face in (record(name), record(name, code="unreadable")):
        out = io.StringIO()
        TableWriter(out).write([face])
        header, line, end = out.getvalue().split("\n")
        assert (header.split()[0], end) == ("quality", "")
        assert line.isprintable()
    assert shown("é ü 日本") == "é ü 日本"


def test_a_csv_stream_has_one_header():
    out = io.BytesIO()
    writer = StreamWriter(out, "csv", STDOUT)
    writer.write([record("a")])
    writer.write([record("b")])
    writer.close()
    assert [line[:20] for line in out.getvalue().splitlines()] == [
        b"schema,id,source,fra",
        b"edge-fiqa/1,a#0,a,,,",
        b"edge-fiqa/1,b#0,b,,,",
    ]


class _Full(io.BytesIO):
    def write(self, data):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "writer", [StreamWriter(_Full(), "csv", STDOUT), TableWriter(io.TextIOWrapper(_Full()))]
)
def test_a_full_disk_is_an_expected_error(writer):
    with pytest.raises(ConfigError, match="standard output cannot be written: No space left"):
        writer.write([record("a")])
    if isinstance(writer, TableWriter):
        writer.out.detach()
