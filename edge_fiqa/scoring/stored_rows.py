"""What a record file already holds: its rows, each with its bytes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from msgspec import Struct

from edge_fiqa.scoring.output import FileFormat


class StoredRow(NamedTuple):
    """line: its bytes; end: their place in the file. calibration: None in rows without a quality."""

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
        """What the row shows of the settings that it was made with."""
        return self[self._fields.index("fingerprint") :]


@dataclass
class StoredImages:
    """What a file holds. header: of a CSV. end: of its last whole row. last: that row's source.

    done: sources whose faces all have a score; again: those to try again; with_score: those of
    `again` of which some face has a score. kinds: of the rows with a score, one for each kind of
    settings.
    """

    header: bytes
    end: int = 0
    last: str | None = None
    done: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    with_score: set[str] = field(default_factory=set)
    kinds: list[StoredRow] = field(default_factory=list)

    def try_again(self, sources: set[str]) -> None:
        self.with_score |= self.done & sources
        self.done -= sources
        self.again |= sources


def read_images(path: Path, form: FileFormat) -> StoredImages:
    """Raises ValueError, or msgspec's, as read_rows does."""
    images = StoredImages(read_header(path, form))
    kinds: dict[tuple[object, ...], StoredRow] = {}
    ids: set[str] = set()
    again: set[str] = set()
    with path.open("rb") as file:
        for row in read_rows(file, form):
            images.end, images.last = row.end, row.source
            if row.code == "ok":
                kinds.setdefault(row.settings, row)
                images.done.add(row.source)
            if row.code != "ok" or row.id in ids:  # twice: two runs wrote at the same time
                again.add(row.source)
            ids.add(row.id)
    images.try_again(again)
    images.kinds = list(kinds.values())
    return images


def read_header(path: Path, form: FileFormat) -> bytes:
    """The first line of a CSV, empty where it was cut off."""
    if form == "ndjson":
        return b""
    with path.open("rb") as file:
        line = file.readline()
    return line if line.endswith(b"\n") else b""


def read_rows(file: BinaryIO, form: FileFormat) -> Iterator[StoredRow]:
    """The rows of a file open at its start, in order.

    A last row that a crash cut off is not among them. Raises ValueError where the file, or a line
    of it, is something else.
    """
    _check_beginning(file, form)
    return _csv_rows(file) if form == "csv" else _ndjson_rows(file)


BEGINNINGS = {"ndjson": b'{"schema":"edge-fiqa/', "csv": b"schema,id,source,"}


def _check_beginning(file: BinaryIO, form: FileFormat) -> None:
    """A file that is shorter, cut off in its first line, must begin as ours do."""
    beginning = BEGINNINGS[form]
    head = file.read(2 * len(beginning))
    if form == "csv":
        head = head.replace(b'"', b"")
    if not head.startswith(beginning) and not beginning.startswith(head):
        raise ValueError(f"it does not begin with {beginning.decode()}")
    file.seek(0)


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
    """Each line is a record: JSON escapes line ends within names."""
    decoder = msgspec.json.Decoder(_Row)
    end = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        end += len(line)
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
    """The lines of a file for csv.reader, which takes no more of them than its next row needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes_read = 0
        self.taken: list[bytes] = []
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.bytes_read += len(line)
            self.taken.append(line)
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
    lines = _csv_cells(file)
    _, _, header = next(lines, (b"", 0, list(COLUMNS)))
    columns = [header.index(name) for name in COLUMNS]  # ValueError: another table
    for line, end, cells in lines:
        if len(cells) != len(header):
            raise ValueError(f"a row has {len(cells)} cells, the header {len(header)}")
        yield _stored(line, end, [cells[column] for column in columns])


def _csv_cells(file: BinaryIO) -> Iterator[tuple[bytes, int, list[str]]]:
    """(bytes, end, cells) of each row, header included, but for a last one that was cut off."""
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
        name,
        source,
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
