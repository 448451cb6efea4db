"""The forms in which records are written."""

import csv
import io
import itertools
import json
from pathlib import Path

import msgspec
import pytest

from edge_fiqa.csv_text import safe_cell, text_of_cell
from edge_fiqa.errors import ConfigError, shown
from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.scoring.output import (
    STDOUT,
    StreamWriter,
    TableWriter,
    csv_header,
    encode,
)
from edge_fiqa.scoring.stored_rows import read_rows
from tests.scoring.records import record

NAMES = ["a", "b\nc", "d\re", 'f"g,h', "é", "tab\t"]


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_from_ndjson_and_csv_as_they_are(name):
    (line,) = encode([record(name)], "ndjson").split(b"\n")[:-1]
    assert json.loads(line)["source"] == name
    text = (csv_header(record(name)) + encode([record(name)], "csv")).decode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert (row["source"], row["id"]) == (name, f"{name}#0")


FORMULAS = ["=cmd|' /C calc'!A0", "+1+2", "-1+2", "@SUM(A1)", "\tx", "\r=1", "=\n"]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_spreadsheet_computes_a_name(name):
    """`./` before it names the same file, and the reader takes it away."""
    text = (csv_header(record(name)) + encode([record(name)], "csv")).decode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert row["source"] == f"./{name}"
    assert row["id"] == f"./{name}#0"
    assert Path(row["source"]) == Path(name)
    assert not any(
        str(cell)[:1] in "=+-@\t\r" for cell in row.values() if cell and not number(cell)
    )
    data = io.BytesIO(text.encode())
    assert [(r.source, r.id) for r in read_rows(data, "csv")] == [(name, f"{name}#0")]


def number(cell):
    try:
        return float(cell) is not None
    except ValueError:
        return False


def test_negative_numbers_stay_numbers():
    face = record("a")
    face = msgspec.structs.replace(face, quality=msgspec.structs.replace(face.quality, raw=-1.25))
    text = (csv_header(face) + encode([face], "csv")).decode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["quality.raw"] == "-1.25"


def test_every_text_comes_back():
    texts = [
        "".join(parts) for parts in itertools.product(["", ".", "/", "=", "-", "a", "./"], repeat=3)
    ]
    paths = {str(Path(text)) for text in texts if text}
    for text in paths:
        assert text_of_cell(safe_cell(text)) == text
    assert len({safe_cell(text) for text in paths}) == len(paths)


STEERING = ["\x1b[31m", "\x9b2J", "\x7f", "\u202e", "\u2066", "\u200f", "\U000e0001", "\x08"]


@pytest.mark.parametrize("control", STEERING)
def test_json_steers_no_terminal_and_means_the_same(control):
    data = encode([record(f"a{control}é日b")], "ndjson")
    assert data.decode().rstrip("\n").isprintable()
    assert "é日" in data.decode()
    assert json.loads(data)["source"] == f"a{control}é日b"
    (row,) = read_rows(io.BytesIO(data), "ndjson")
    assert row.source == f"a{control}é日b"


@pytest.mark.parametrize("control", STEERING)
def test_a_csv_is_escaped_on_a_terminal_alone(control):
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    for out in (Terminal(), io.BytesIO()):
        StreamWriter(out, "csv", STDOUT).write([record(f"a{control}b")])
        raw = control.encode() in out.getvalue()
        assert raw == (not out.isatty())
        assert all(
            line.isprintable() or not out.isatty() for line in out.getvalue().decode().split("\n")
        )


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


def test_the_table_says_what_is_certain_in_few_words():
    reported = (ReportedCause("motion_blur", "Sharpness", 9), ReportedCause("noise", None, 20))
    shown_reasons = Reasons("hold still", reported, {"motion_blur": 9, "noise": 20})
    nothing_certain = Reasons(None, (), {"motion_blur": 80})
    lines = []
    for reasons in (shown_reasons, nothing_certain, None):
        out = io.StringIO()
        face = msgspec.structs.replace(record("a"), reasons=reasons, warnings=("looks odd",))
        TableWriter(out).write([face])
        lines.append(out.getvalue().split("\n")[1])
    assert lines[0] == f"{lines[2]} [hold still: motion blur, noise]"
    assert lines[1] == lines[2]
    assert lines[2].endswith("a#0 (looks odd)")
