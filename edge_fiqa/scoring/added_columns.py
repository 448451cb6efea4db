"""Columns that a version added to the table of records: a CSV of an older version gets them, empty."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_fiqa.csv_text import join_cells
from edge_fiqa.scoring.stored_rows import csv_cells

ADDED = ("reasons.",)
"""How the names of added columns begin. A column without a value says nothing that was not true."""


def lacks_added_columns(columns: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Whether a CSV has all of the expected columns in their order, but for some that were added."""
    absent = [name for name in expected if name not in columns]
    there = [name for name in expected if name in columns]
    return bool(absent) and there == list(columns) and all(map(is_added, absent))


def is_added(column: bytes) -> bool:
    return column.decode(errors="replace").startswith(ADDED)


def with_added_columns(file: Path, expected: Sequence[bytes], line_end: str) -> Iterator[bytes]:
    """Yield the lines of a CSV, with the expected columns that it lacks. Every other cell stays."""
    names = [name.decode() for name in expected]
    with file.open("rb") as old:
        has_mark = old.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        old.seek(0)
        rows = csv_cells(old)
        _, _, header = next(rows)
        places = [header.index(name) if name in header else None for name in names]
        yield codecs.BOM_UTF8 * has_mark + join_cells(names, line_end).encode()
        for _, _, cells in rows:
            if cells:  # else a blank line
                new = ["" if place is None else cells[place] for place in places]
                yield join_cells(new, line_end).encode()
