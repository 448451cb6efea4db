"""Reads the rows of a record file, each with its bytes."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from msgspec import Struct

from edge_fiqa.csv_text import text_of_cell
from edge_fiqa.scoring.output import FileFormat


class StoredRow(NamedTuple):
    """A row of a record file.

    line: its bytes. end: offset in the file behind them. calibration: None in rows without a quality.
    """

    line: bytes
    end: int
    id: str
    source: str
    code: str
    fingerprint: str
    fusion: str
    calibration: str | None
    gate: int | None
    depth: int | None
    reason: str | None
    has_box: bool
    has_landmarks: bool

    @property
    def settings(self) -> tuple[object, ...]:
        """Return what the row shows of the settings that it was made with."""
        return self[self._fields.index("fingerprint") :]


def read_rows(file: BinaryIO, form: FileFormat) -> Iterator[StoredRow]:
    """Yield the rows of a file open at its start, in order.

    A last row that a crash cut off is not among them, nor are blank lines. A CSV may begin with a
    byte order mark, and its lines may end as on Windows. Raises ValueError where the file, or a line
    of it, is something else.
    """
    _check_beginning(file, form)
    return _csv_rows(file) if form == "csv" else _ndjson_rows(file)


BEGINNINGS: Mapping[FileFormat, bytes] = {
    "ndjson": b'{"schema":"edge-fiqa/',
    "csv": b"schema,id,source,",
}


def _check_beginning(file: BinaryIO, form: FileFormat) -> None:
    """Raise ValueError if the file does not begin as ours do. It may be cut off in its first line."""
    beginning = BEGINNINGS[form]
    head = file.read(2 * len(beginning))
    if form == "csv":
        head = head.removeprefix(codecs.BOM_UTF8).replace(b'"', b"")
        for separator in (b";", b"\t"):
            if head.startswith(beginning.replace(b",", separator)):
                raise ValueError(f"its cells are separated by {separator.decode()!r}, not by ','")
    if not head.startswith(beginning) and not beginning.startswith(head):
        raise ValueError(f"it does not begin with {beginning.decode()}")
    file.seek(0)


def begins_as_records(path: Path) -> bool:
    """Whether a file is empty or begins as a record file of any form. Raises OSError."""
    with path.open("rb") as file:
        for form in BEGINNINGS:
            file.seek(0)
            try:
                _check_beginning(file, form)
            except ValueError:
                continue
            return True
    return False


class _Algorithm(Struct):
    fingerprint: str


class _Quality(Struct):
    code: str
    algorithm: _Algorithm
    calibration: str | None


class _Exit(Struct):
    depth: int | None
    reason: str | None
    fusion: str


class _Decision(Struct):
    gate: int | None


class _Row(Struct):
    id: str
    source: str
    box: msgspec.Raw
    landmarks: msgspec.Raw
    quality: _Quality
    exit: _Exit
    decision: _Decision


def _ndjson_rows(file: BinaryIO) -> Iterator[StoredRow]:
    """Yield a row for each line: JSON escapes line ends within names."""
    decoder = msgspec.json.Decoder(_Row)
    end = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        end += len(line)
        if not line.strip():
            continue
        row = decoder.decode(line)
        quality, stop = row.quality, row.exit
        yield StoredRow(
            line,
            end,
            row.id,
            row.source,
            quality.code,
            quality.algorithm.fingerprint,
            stop.fusion,
            quality.calibration,
            row.decision.gate,
            stop.depth,
            stop.reason,
            bytes(row.box) != b"null",
            bytes(row.landmarks) != b"null",
        )


class _CountedLines:
    """Gives the lines of a file to csv.reader, which takes no more of them than its next row needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes_read = 0
        self.taken: list[bytes] = []
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            is_first = not self.bytes_read
            self.bytes_read += len(line)
            self.taken.append(line)
            if is_first:
                line = line.removeprefix(codecs.BOM_UTF8)
            # A line without its end was cut off, maybe within a letter.
            yield line.decode("utf-8", "strict" if line.endswith(b"\n") else "replace")
        self.ended = True


COLUMNS = (
    "id",
    "source",
    "quality.code",
    "quality.algorithm.fingerprint",
    "exit.fusion",
    "quality.calibration",
    "decision.gate",
    "exit.depth",
    "exit.reason",
    "box.x",
    "landmarks.1.x",
)


def _csv_rows(file: BinaryIO) -> Iterator[StoredRow]:
    lines = csv_cells(file)
    _, _, header = next(lines, (b"", 0, list(COLUMNS)))
    columns = [header.index(name) for name in COLUMNS]  # ValueError: another table
    for line, end, cells in lines:
        if not cells:  # a blank line
            continue
        if len(cells) != len(header):
            raise ValueError(f"a row has {len(cells)} cells, the header {len(header)}")
        yield _stored(line, end, [cells[column] for column in columns])


def csv_cells(file: BinaryIO) -> Iterator[tuple[bytes, int, list[str]]]:
    """Yield (bytes, end, cells) of the header and of each row, except a last row that was cut off."""
    lines = _CountedLines(file)
    reader = csv.reader(lines, strict=True)
    while True:
        lines.taken.clear()
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            if lines.ended:  # within quotes
                return
            raise ValueError(f"line {reader.line_num}: {exc}") from exc
        line = b"".join(lines.taken)
        if cells is None or not line.endswith(b"\n"):
            return
        yield line, lines.bytes_read, cells


def _stored(line: bytes, end: int, cells: Sequence[str]) -> StoredRow:
    name, source, code, fingerprint, fusion, calibration, gate, depth, reason, box, points = cells
    return StoredRow(
        line,
        end,
        text_of_cell(name),
        text_of_cell(source),
        code,
        fingerprint,
        fusion,
        calibration or None,
        int(gate) if gate else None,
        int(depth) if depth else None,
        reason or None,
        box != "",
        points != "",
    )
