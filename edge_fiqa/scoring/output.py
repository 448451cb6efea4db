"""Writes records: a table for people, NDJSON or CSV for scripts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TextIO

from edge_fiqa.csv_text import csv_line
from edge_fiqa.errors import ConfigError, shown
from edge_fiqa.files import write_all
from edge_fiqa.reasons.words import reasons_in_words
from edge_fiqa.record import Record, flatten, to_json

FileFormat = Literal["ndjson", "csv"]
Format = Literal["table", "ndjson", "csv"]


class Writer(Protocol):
    """Where records go. Threads may share a writer: the records of one call stay together."""

    def write(self, records: Sequence[Record]) -> None:
        """Write the records of one image. Raises ConfigError where they cannot be written."""

    def close(self) -> None: ...


def encode(records: Sequence[Record], form: FileFormat, line_end: str = "\n") -> bytes:
    """Return the lines of a file, without a header. Always UTF-8. line_end: of a CSV."""
    if form == "ndjson":
        return b"".join(to_json(record) + b"\n" for record in records)
    return b"".join(_csv_line(list(flatten(record).values()), line_end) for record in records)


def csv_header(record: Record, line_end: str = "\n") -> bytes:
    return _csv_line(list(flatten(record)), line_end)


def _csv_line(cells: Sequence[object], line_end: str = "\n") -> bytes:
    return csv_line(cells, line_end).encode("utf-8")


class StreamWriter:
    """Writes into standard output, a pipe or a device: nothing is read, nothing can be resumed.

    Threads may share it. name: for messages.
    """

    def __init__(self, out: BinaryIO, form: FileFormat, name: str) -> None:
        self.out, self.form, self.name = out, form, name
        self._lock, self._needs_header = threading.Lock(), form == "csv"
        self._escapes = form == "csv" and out.isatty()

    @classmethod
    def at(cls, path: Path, form: FileFormat) -> StreamWriter:
        """Open a file for appending. Raises ConfigError if it cannot be opened."""
        try:
            return cls(path.open("ab", buffering=0), form, str(path))
        except OSError as exc:
            raise cannot_be_written(path, exc) from exc

    def write(self, records: Sequence[Record]) -> None:
        with self._lock:
            header = csv_header(records[0]) if self._needs_header else b""
            self._needs_header = False
            try:
                data = header + encode(records, self.form)
                write_all(self.out, _for_terminal(data) if self._escapes else data)
                self.out.flush()
            except BrokenPipeError:
                raise
            except OSError as exc:
                raise cannot_be_written(self.name, exc) from exc

    def close(self) -> None:
        """Close the file. Standard output stays open."""
        with self._lock:
            if self.name != STDOUT:
                self.out.close()


def _for_terminal(data: bytes) -> bytes:
    """Without control characters other than line ends. JSON has none (see record.to_json)."""
    return b"\n".join(shown(line.decode()).encode() for line in data.split(b"\n"))


STDOUT = "standard output"


def cannot_be_written(name: object, exc: OSError) -> ConfigError:
    return ConfigError(f"{name} cannot be written: {exc.strerror or exc}")


class TableWriter:
    """Writes a line per face: quality, where the score came from, its cost, warnings and reasons.

    Threads may share it.
    """

    def __init__(self, out: TextIO, all_exits: bool = False, gate: bool = False) -> None:
        self.out, self.all_exits, self.gate = out, all_exits, gate
        self._lock, self._needs_header = threading.Lock(), True

    def write(self, records: Sequence[Record]) -> None:
        lines = [shown(self._line(record)) for record in records]
        with self._lock:
            if self._needs_header:
                lines.insert(0, self._header(records[0]))
                self._needs_header = False
            try:
                self.out.write("".join(f"{line}\n" for line in lines))
                self.out.flush()
            except BrokenPipeError:
                raise
            except OSError as exc:
                raise cannot_be_written(STDOUT, exc) from exc

    def close(self) -> None:
        """Do nothing: every line is already written."""

    def _header(self, record: Record) -> str:
        exits = (
            [f"{f'e{k + 1}':>7}" for k in range(len(record.exit.scores))] if self.all_exits else []
        )
        verdict = ["verdict "] if self.gate else []
        return " ".join(
            ["quality", *verdict, "    raw", *exits, "exit", "reason     ", "    ms", " face"]
        )

    def _line(self, record: Record) -> str:
        quality, cost = record.quality, record.cost
        if quality.code != "ok":
            return f"     NA {quality.code}: {'; '.join(record.warnings) or record.source}"
        exits = record.exit.scores if self.all_exits else ()
        verdict = ["accepted" if record.decision.accepted else "rejected"] if self.gate else []
        cells = [
            f"{'NA' if quality.scalar is None else quality.scalar:>7}",
            *verdict,
            f"{quality.raw:7.3f}",
            *("      -" if score is None else f"{score:7.3f}" for score in exits),
            f"{record.exit.depth:>4}",
            f"{record.exit.reason:<11}",
            f"{cost.ms:6.2f}",
            f" {record.id}",
            *(f"({warning})" for warning in record.warnings),
            *(f"[{text}]" for text in [reasons_in_words(record.reasons)] if text),
        ]
        return " ".join(cells)
