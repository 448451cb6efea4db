"""How records are written: a table for people, NDJSON or CSV for scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal, Protocol, TextIO

from edge_fiqa.record import Record, flatten, to_json

Format = Literal["table", "ndjson", "csv"]


class Writer(Protocol):
    def write(self, records: Sequence[Record]) -> None: ...


class NdjsonWriter:
    def __init__(self, out: TextIO) -> None:
        self.out = out

    def write(self, records: Sequence[Record]) -> None:
        self.out.write("".join(to_json(record).decode() + "\n" for record in records))
        self.out.flush()


class CsvWriter:
    def __init__(self, out: TextIO, header: bool = True) -> None:
        self.out, self.header = out, header

    def write(self, records: Sequence[Record]) -> None:
        text = io.StringIO()
        for record in records:
            row = flatten(record)
            # csv.writer leaves a lone \r in a file's name bare, and its reader ends the row there.
            quoting: Literal[0, 1] = (
                csv.QUOTE_ALL if "\r" in record.id + record.source else csv.QUOTE_MINIMAL
            )
            writer = csv.DictWriter(text, row, lineterminator="\n", quoting=quoting)
            if self.header:
                writer.writeheader()
                self.header = False
            writer.writerow(row)
        self.out.write(text.getvalue())
        self.out.flush()


class TableWriter:
    """Quality, where the score came from and what it cost; one line per face."""

    def __init__(self, out: TextIO, all_exits: bool = False, gate: bool = False) -> None:
        self.out, self.all_exits, self.gate, self.header = out, all_exits, gate, True

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            if self.header:
                self.out.write(self._header(record) + "\n")
                self.header = False
            self.out.write(self._line(record) + "\n")
        self.out.flush()

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
        ]
        return " ".join(cells)
