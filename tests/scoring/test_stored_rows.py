"""Record files that another program saved."""

import pytest

from edge_fiqa.errors import ConfigError
from tests.scoring.records import csv_rows, record, write_run

BOM = b"\xef\xbb\xbf"


def ids(path):
    return [row["id"] for row in csv_rows(path)]


def test_line_ends_of_a_header_alone_are_kept(tmp_path):
    out = tmp_path / "out.csv"
    write_run(out, "csv", [record("a")])
    header = out.read_bytes().split(b"\n")[0]
    out.write_bytes(header + b"\r\n")
    (tmp_path / "out.csv.run.json").unlink()
    write_run(out, "csv", [record("b")])
    assert out.read_bytes().startswith(header + b"\r\n")
    assert out.read_bytes().count(b"\r\n") == out.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    "saved",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: BOM + data,
        lambda data: BOM + data.replace(b"\n", b"\r\n") + b"\r\n",
        lambda data: data + b"\n\n",
    ],
    ids=["CRLF", "BOM", "BOM, CRLF and a blank line", "blank lines"],
)
def test_another_programs_line_ends_are_kept(tmp_path, saved):
    out = tmp_path / "out.csv"
    write_run(out, "csv", [record("a")], [record("b", code="no_face")], [record("c")])
    out.write_bytes(saved(out.read_bytes()))
    rows = out.read_bytes().rstrip(b"\r\n")
    assert write_run(out, "csv", [record("d")]) == {"a"}  # c: the run's end is not where it was
    assert out.read_bytes().startswith(rows)
    line_end = b"\r\n" if b"\r\n" in rows else b"\n"
    assert out.read_bytes().count(line_end) == out.read_bytes().count(b"\n") == 5
    write_run(out, "csv", [record("b")], [record("c")])
    assert ids(out) == ["a#0", "b#0", "c#0", "d#0"]
    assert out.read_bytes().startswith(rows[: rows.index(b"b#0")])
    assert out.read_bytes().count(line_end) == out.read_bytes().count(b"\n") == 5
    assert write_run(out, "csv") == {"a", "b", "c", "d"}


def test_blank_lines_in_ndjson(tmp_path):
    out = tmp_path / "out.ndjson"
    write_run(out, "ndjson", [record("a")], [record("b")])
    before = out.read_bytes()
    out.write_bytes(before + b"\n\r\n")
    assert write_run(out, "ndjson", [record("c")]) == {"a"}
    assert out.read_bytes().startswith(before + b"{")


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        (lambda data: data.replace(b",", b";"), "cells are separated by ';', not by ','"),
        (lambda data: data.replace(b",", b"\t"), r"separated by '\\t'"),
        (lambda data: data + b"note\n", "a row has 1 cells"),
        (
            lambda data: data.replace(b"\n", b",note\n"),
            "has other columns: it was changed by another",
        ),
    ],
    ids=["semicolons", "tabs", "a note", "a column"],
)
def test_what_another_program_changed_is_refused_with_the_reason(tmp_path, saved, says):
    out = tmp_path / "out.csv"
    write_run(out, "csv", [record("a")])
    out.write_bytes(saved(out.read_bytes()))
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=f"{says}.*choose another --output") as refusal:
        write_run(out, "csv", [record("b")])
    assert "changed by another program" in str(refusal.value)
    assert "number of exits" not in str(refusal.value)
    assert out.read_bytes() == before


def test_without_its_settings_a_file_is_taken_with_a_warning(tmp_path, caplog):
    out = tmp_path / "out.csv"
    write_run(out, "csv", [record("a")], [record("b")])
    write_run(out, "csv")
    assert caplog.messages == []
    (tmp_path / "out.csv.run.json").unlink()
    assert write_run(out, "csv") == {"a"}
    (message,) = caplog.messages
    assert "no out.csv.run.json beside it: settings are judged by its rows alone" in message
