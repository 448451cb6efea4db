"""Rows of a CSV as text: nothing in them is taken for a formula, and every row is read as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Literal

FORMULA = re.compile(r"(?=[=+\-@\t\r])")
"""How a text begins that a spreadsheet computes, which may read files or start programs."""
HERE = "./"


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: `./` before it is the same path."""
    return f"{HERE}{text}" if FORMULA.match(text) else text


def text_of_cell(cell: str) -> str:
    """What `safe_cell` made this of. A path never begins with `./`, since it is normalised before."""
    text = cell.removeprefix(HERE)
    return text if FORMULA.match(text) else cell


def csv_line(cells: Sequence[object], line_end: str = "\n") -> str:
    """One row. Numbers stay numbers; texts become safe cells."""
    return join_cells([safe_cell(c) if isinstance(c, str) else c for c in cells], line_end)


def join_cells(cells: Sequence[object], line_end: str = "\n") -> str:
    """One row of cells that are safe, such as those of a file that was written here."""
    text = io.StringIO()
    # csv.writer leaves a lone \r bare, and its reader ends the row there.
    has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerow(cells)
    return text.getvalue()
