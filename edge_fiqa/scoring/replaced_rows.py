"""A record file written anew, with new rows of some images in the place of their old ones."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from edge_fiqa.scoring.output import FileFormat
from edge_fiqa.scoring.stored_images import read_header
from edge_fiqa.scoring.stored_rows import read_rows


def with_replacements(
    file: Path, form: FileFormat, replacements: Mapping[str, bytes]
) -> Iterator[bytes]:
    """Yield the lines of a file, with the new ones of an image where its first row was."""
    yield read_header(file, form)
    written: set[str] = set()
    with file.open("rb") as old:
        for row in read_rows(old, form):
            if row.source not in replacements:
                yield row.line
            elif row.source not in written:
                written.add(row.source)
                yield replacements[row.source]


@contextlib.contextmanager
def written_anew(file: Path) -> Iterator[BinaryIO]:
    """Open a new file beside `file`. It takes its name once it is whole and on disk."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)  # of a killed run: the lock is ours
    try:
        with part.open("xb") as new:  # never through a link
            yield new
            new.flush()
            os.fsync(new.fileno())
        if file.exists():
            shutil.copymode(file, part)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
