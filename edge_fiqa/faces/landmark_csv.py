"""Tables of landmarks: commas, semicolons, tabs or blanks, with a header or without."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.point_names import (
    PLACES,
    FivePoints,
    columns_of_numbers,
    columns_of_places,
    five_of,
    path_column,
)

EXPECTED: Final = (
    "expected path,x1,y1,...,x5,y5 (a path and ten numbers), or a header such as "
    "path,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,"
    "mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y"
)
IN_ORDER: Final = (
    "points in order: left eye, right eye, nose, left mouth corner, right mouth corner"
)
DELIMITERS: Final = {";": "semicolons", "\t": "tabs", ",": "commas", " ": "blanks"}


@dataclass(frozen=True)
class LandmarkRows:
    """faces: (path, its faces), in the file's order. form: how they were read, in words.

    by_name: whether the points were told apart by their names, left and right among them.
    """

    faces: Sequence[tuple[str, Sequence[FivePoints]]]
    form: str
    by_name: bool


@dataclass(frozen=True)
class Layout:
    """Where a row has its path and its points. columns: of x and y, point by point."""

    path: int
    columns: Sequence[tuple[int, int]]
    form: str
    by_name: bool = False

    def face(self, row: Sequence[str], number: Callable[[str], float]) -> FivePoints:
        return five_of([(number(row[x]), number(row[y])) for x, y in self.columns])


def rows_of_csv(file: Path, text: str) -> LandmarkRows:
    """The faces of a table. Raises ConfigError naming the file, the line and the form expected."""
    delimiter = _delimiter(text)

    def number(cell: str) -> float:
        return float(cell if delimiter == "," else cell.replace(",", "."))

    faces: list[tuple[str, list[FivePoints]]] = []
    layout: Layout | None = None
    line = 1
    try:
        for number_of_line, row in _rows(text, delimiter):
            line = number_of_line
            if layout is None:
                if _is_count(row, delimiter):
                    continue
                if _is_header(row, number):
                    layout = _of_header(file, row)
                    continue
                layout = _without_header(row)
            if not layout.columns:  # the header named no points
                layout = _without_header(row)
            shift = 1 if layout.path < 0 else 0
            wanted = _width(layout)
            if wanted is not None and len(row) != wanted:
                raise ValueError
            path = row[0] if shift else row[layout.path]
            faces.append((path, [layout.face(row[shift:], number)]))
    except ConfigError:
        raise
    except (ValueError, IndexError, csv.Error) as exc:
        raise ConfigError(f"{file}, line {line}: {EXPECTED}") from exc
    form = layout.form if layout else IN_ORDER
    if delimiter != ",":
        form += f", between {DELIMITERS[delimiter]}"
    return LandmarkRows(faces, form, layout is not None and layout.by_name)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of rows that are not empty."""
    if delimiter == " ":
        for line, content in enumerate(text.splitlines(), 1):
            if cells := content.split():
                yield line, cells
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        row = next(reader, None)
        if row is None:
            return
        if row:
            yield reader.line_num, row


def _delimiter(text: str) -> str:
    """What separates the cells of the first row that has several."""
    rows = (line for line in text.splitlines() if any(mark in line for mark in DELIMITERS))
    first = next(rows, "").strip()
    for delimiter in (";", "\t", ","):
        if first.count(delimiter) >= (5 if delimiter != "," else 1):
            return delimiter
    return " " if len(first.split()) >= 10 else ","


def _is_count(row: Sequence[str], delimiter: str) -> bool:
    """The first line of CelebA's lists: how many rows follow."""
    return delimiter == " " and len(row) == 1 and row[0].isdigit()


def _is_header(row: Sequence[str], number: Callable[[str], float]) -> bool:
    """Whether no cell but the first is a number, and there is a name among them."""
    for cell in row[1:]:
        try:
            number(cell)
        except ValueError:
            continue
        return False
    return path_column(row) is not None or columns_of_places(row) is not None or len(row) > 11


def _of_header(file: Path, names: Sequence[str]) -> Layout:
    """Columns by their names. A header shorter than the rows says nothing of the points."""
    path = path_column(names)
    if (by_place := columns_of_places(names)) is not None:
        columns = [(by_place[place, 0], by_place[place, 1]) for place in range(len(PLACES))]
        used = {column for pair in columns for column in pair}
        first = path if path is not None and path not in used else (-1 if 0 in used else 0)
        return Layout(first, columns, "points by the names in the header", by_name=True)
    if (by_number := columns_of_numbers(names)) is not None:
        count = len(by_number) // 2
        columns = [(by_number[point, 0], by_number[point, 1]) for point in range(count)]
        return Layout(path or 0, columns, form_of(count))
    if len(names) <= 10:
        return Layout(0, (), IN_ORDER)
    raise ConfigError(
        f"{file}, line 1: the header names no five points ({', '.join(names)[:200]}); {EXPECTED}"
    )


def _without_header(row: Sequence[str]) -> Layout:
    count, odd = divmod(len(row) - 1, 2)
    if odd or count not in (5, 68):
        raise ValueError
    return Layout(0, [(1 + 2 * point, 2 + 2 * point) for point in range(count)], form_of(count))


def form_of(count: int) -> str:
    """How 5 or 68 points without names are read, in words."""
    return IN_ORDER if count == 5 else "five of the 68 points of iBUG 300-W and dlib"


def _width(layout: Layout) -> int | None:
    """Cells of a row where there is nothing but the path and its points, else None."""
    columns = sorted({column for pair in layout.columns for column in pair})
    if layout.path == 0 and columns == list(range(1, len(columns) + 1)):
        return len(columns) + 1
    return None
