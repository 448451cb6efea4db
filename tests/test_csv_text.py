"""Every CSV that is written is safe for a spreadsheet, and read as it was."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

import edge_fiqa
from edge_fiqa.csv_text import csv_line, text_of_cell
from edge_fiqa.training.versions import _lost, _write_lost

TEXTS = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\r=1",
    "a",
    "a\rb",
    'a"b',
    "a\nb",
    "é",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_text_is_no_formula_and_comes_back(text, line_end):
    line = csv_line((text, -1.25, None, 7), line_end)
    assert line.endswith(line_end)
    (cells,) = csv.reader(io.StringIO(line, newline=""), strict=True)
    assert cells[0][:1] not in tuple("=+-@\t\r")
    assert text_of_cell(cells[0]) == text
    assert cells[1:] == ["-1.25", "", "7"]


def test_every_csv_is_written_by_it():
    folder = Path(edge_fiqa.__file__).parent
    writers = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if "csv.writer(" in (text := path.read_text(encoding="utf-8")) or "DictWriter(" in text
    ]
    assert writers == ["csv_text.py"]


def test_faces_that_cannot_be_read_are_listed_safely(tmp_path):
    pictures = [SimpleNamespace(name=f"{text}{number}") for number, text in enumerate(TEXTS * 100)]
    faces = SimpleNamespace(pictures=pictures, source="s")
    reasons = {0: "=1+1", 1: "-", 3: "two\nlines"}
    _write_lost(tmp_path / "lost.csv", reasons, faces)
    assert _lost(tmp_path / "lost.csv") == reasons
    with (tmp_path / "lost.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["./=cmd|' /C calc'!A00", "./+11", "./@SUM(A1)3"]
    assert [row["reason"] for row in rows] == ["./=1+1", "./-", "two\nlines"]
