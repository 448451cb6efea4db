"""The images whose records a file holds, and which of them are scored again."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_fiqa.scoring.added_columns import is_added, lacks_added_columns
from edge_fiqa.scoring.output import FileFormat
from edge_fiqa.scoring.stored_rows import StoredRow, read_rows

EXITS = b"exit.scores."


@dataclass
class StoredImages:
    """The images whose records a file holds, by source.

    header: of a CSV. whole_until: offset in the file behind its last whole row; what follows was cut
    off. last_source: of that row, None in a file without rows.
    done: images whose faces all have a score. to_rescore: images to be scored again. partly_scored:
    those of `to_rescore` of which some face has a score. faces: number of rows of each image.
    settings_seen: of the rows with a score, the first row of each set of settings.
    """

    header: bytes
    whole_until: int = 0
    last_source: str | None = None
    done: set[str] = field(default_factory=set)
    to_rescore: set[str] = field(default_factory=set)
    partly_scored: set[str] = field(default_factory=set)
    settings_seen: list[StoredRow] = field(default_factory=list)
    faces: Counter[str] = field(default_factory=Counter)

    @property
    def line_end(self) -> str:
        """Return that of a CSV, which another program may have changed."""
        return "\r\n" if self.header.endswith(b"\r\n") else "\n"

    def among(self, sources: Iterable[str]) -> set[str]:
        """Return those that have rows."""
        return {source for source in sources if source in self.faces}

    def rescore(self, sources: set[str]) -> None:
        """Take these images as not done."""
        self.partly_scored |= self.done & sources
        self.done -= sources
        self.to_rescore |= sources


def read_images(path: Path, form: FileFormat) -> StoredImages:
    """Read which images a file holds. Raises ValueError, or msgspec's errors, as read_rows does."""
    images = StoredImages(read_header(path, form))
    settings_seen: dict[tuple[object, ...], StoredRow] = {}
    ids: set[str] = set()
    to_rescore: set[str] = set()
    with path.open("rb") as file:
        for row in read_rows(file, form):
            images.whole_until, images.last_source = row.end, row.source
            images.faces[row.source] += 1
            if row.code == "ok":
                settings_seen.setdefault(row.settings, row)
                images.done.add(row.source)
            if row.code != "ok" or row.id in ids:  # twice: two runs wrote at the same time
                to_rescore.add(row.source)
            ids.add(row.id)
    images.rescore(to_rescore)
    images.settings_seen = list(settings_seen.values())
    return images


def read_header(path: Path, form: FileFormat) -> bytes:
    """Return the first line of a CSV; empty where it was cut off, and for NDJSON."""
    if form == "ndjson":
        return b""
    with path.open("rb") as file:
        line = file.readline()
    return line if line.endswith(b"\n") else b""


def columns_difference(header: bytes, expected: bytes) -> str | None:
    """Say how the columns of a CSV differ from those of `expected`, a header; None if they do not.

    Columns that a later version added may be missing.
    """
    columns, expected_columns = column_names(header), column_names(expected)
    if not header or columns == expected_columns or lacks_added_columns(columns, expected_columns):
        return None
    same = _of_any_model(columns) == _of_any_model(expected_columns)
    if same and _exits(columns) != _exits(expected_columns):
        return ", of a model with another number of exits"
    return ": it was changed by another program, or written by another version"


def column_names(header: bytes) -> list[bytes]:
    """Return the names; none holds a comma."""
    return header.removeprefix(codecs.BOM_UTF8).replace(b'"', b"").rstrip(b"\r\n").split(b",")


def _of_any_model(columns: Sequence[bytes]) -> list[bytes]:
    return [n for n in columns if not n.startswith(EXITS) and not is_added(n)]


def _exits(columns: Sequence[bytes]) -> list[bytes]:
    return [n for n in columns if n.startswith(EXITS)]
