"""A record file that the next run of the same command goes on filling.

The records of one image are written together. What a crash cut off, a last line without its end, is
removed with the other faces of the same image, and that image is scored again.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.record import Record
from edge_fiqa.scoring.output import CsvWriter, NdjsonWriter

FileFormat = Literal["ndjson", "csv"]


class ResumableFile:
    """Open for appending; `done` holds the sources whose records are already there.

    Raises ConfigError if the file cannot be written, is something else, or was written by another
    model, fusion or calibration: one file holds one scale.
    """

    def __init__(
        self,
        path: Path,
        form: FileFormat,
        *,
        fingerprint: str,
        fusion: str,
        calibration: str | None,
        overwrite: bool = False,
    ) -> None:
        self.path = path
        try:
            if overwrite or not path.exists():
                path.write_bytes(b"")
            self.done = _take_up(path, form, Maker(fingerprint, fusion, calibration))
            self._out = path.open("a", encoding="utf-8", newline="")
            header = path.stat().st_size == 0
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
        self._writer = CsvWriter(self._out, header) if form == "csv" else NdjsonWriter(self._out)

    def write(self, records: Sequence[Record]) -> None:
        try:
            self._writer.write(records)
        except OSError as exc:
            raise ConfigError(f"{self.path} cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        self._out.close()


class Maker(NamedTuple):
    """Who wrote a row. calibration: None in rows without a quality."""

    fingerprint: str
    fusion: str
    calibration: str | None


Written = list[tuple[str, Maker]]


def _take_up(path: Path, form: FileFormat, maker: Maker) -> set[str]:
    lines = _lines(path.read_bytes(), form)
    open_quote = form == "csv" and bool(lines) and lines[-1].count(b'"') % 2 == 1
    cut = bool(lines) and (open_quote or not lines[-1].endswith(b"\n"))
    whole = lines[:-1] if cut else lines
    try:
        read = _csv_rows if form == "csv" else _ndjson_rows
        rows = read([line.decode("utf-8") for line in whole])
        if cut and not whole and not _ours(lines[0], BEGINS[form]):
            raise ValueError("another first line")
    except (ValueError, KeyError, csv.Error) as exc:
        raise ConfigError(
            f"{path} exists and is not a {form} file of edge_fiqa; "
            "choose another --output or give --overwrite"
        ) from exc
    for _, found in rows:
        if found != (maker if found.calibration else maker._replace(calibration=None)):
            raise ConfigError(
                f"{path} was written with another model, fusion or calibration; "
                "choose another --output or give --overwrite"
            )
    if cut:
        half = rows[-1][0] if rows else None
        keep = len(rows)
        while keep and rows[keep - 1][0] == half:
            keep -= 1
        whole, rows = whole[: len(whole) - (len(rows) - keep)], rows[:keep]
        with path.open("r+b") as file:
            file.truncate(sum(map(len, whole)))
    return {source for source, _ in rows}


BEGINS = {"ndjson": b'{"schema":"edge-fiqa/', "csv": b"schema,id,source,"}


def _ours(line: bytes, begin: bytes) -> bool:
    """May a lone line that was cut off be removed? Nobody else's is."""
    return line.startswith(begin) or begin.startswith(line)


def _lines(text: bytes, form: FileFormat) -> list[bytes]:
    """One item a record, with its end. In CSV a line end between quotes belongs to a file's name;
    where the text stops between quotes, so was the record cut off."""
    if form == "ndjson":
        return text.splitlines(keepends=True)
    found, begun = [], b""
    for line in text.split(b"\n"):
        begun += line + b"\n"
        if begun.count(b'"') % 2 == 0:
            found.append(begun)
            begun = b""
    rest = begun[:-1] if begun else found.pop()[:-1]  # the text ends behind its last line end
    return [*found, rest] if rest else found


class _Algorithm(Struct):
    fingerprint: str


class _Quality(Struct):
    algorithm: _Algorithm
    calibration: str | None


class _Exit(Struct):
    fusion: str


class _Row(Struct):
    source: str
    quality: _Quality
    exit: _Exit


def _ndjson_rows(lines: Sequence[str]) -> Written:
    rows = [msgspec.json.decode(line, type=_Row) for line in lines]
    return [
        (r.source, Maker(r.quality.algorithm.fingerprint, r.exit.fusion, r.quality.calibration))
        for r in rows
    ]


def _csv_rows(lines: Sequence[str]) -> Written:
    reader = csv.DictReader(lines, strict=True)
    columns = (
        "source",
        "quality.algorithm.fingerprint",
        "exit.fusion",
        "quality.calibration",
    )
    if lines and not set(columns) <= set(reader.fieldnames or ()):
        raise ValueError("other columns")
    found = [tuple(row[column] for column in columns) for row in reader]
    return [
        (source, Maker(fingerprint, fusion, calibration or None))
        for source, fingerprint, fusion, calibration in found
    ]
