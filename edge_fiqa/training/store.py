"""Tables of a row a face on disk: filled from the front, so that a kill costs a few hundred rows.

A table that is full gets its SHA-256 at its end, where numpy does not read, and is checked by it each
time it is opened (see kept).
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from edge_fiqa.errors import ConfigError, KeptFileRefused, counted
from edge_fiqa.kept import check_sealed, has_seal, seal

FLUSH_EVERY = 500  # rows: what a kill costs at most
SPARE_BYTES = 1 << 30  # of the disk, never filled
log = logging.getLogger("edge_fiqa.training")
Table = npt.NDArray[Any]
Chunks = Callable[[int], Iterable[tuple[Table, ...]]]


class Stack:
    """Tables one after the other, indexed as a whole by rows (R,) or a slice; copies what it gives.

    Nothing is read before it is asked for.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self.ends = np.cumsum([len(table) for table in self.tables])
        self.shape = (int(self.ends[-1]), *self.tables[0].shape[1:])
        self.dtype = self.tables[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> Table:
        rows = np.arange(len(self))[rows]
        which = np.searchsorted(self.ends, rows, side="right")
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number in np.unique(which):
            here = which == number
            first = self.ends[number] - len(self.tables[number])
            out[here] = self.tables[number][rows[here] - first]
        return out


def fill(targets: Sequence[Path], rows: int, batches: Chunks, what: str) -> tuple[Table, ...]:
    """Read-only memory maps of `rows` rows, one a target; computed unless they are there already.

    batches: called with the first row wanted, gives the following ones in order, an array a target.
    A file of another size, or that was changed, is made again. Raises ConfigError if the disk cannot
    hold the tables.
    """
    if not all(_sound(target, rows) for target in targets):
        _fill(targets, rows, batches, what)
    return tuple(np.load(target, mmap_mode="r") for target in targets)


def _fill(targets: Sequence[Path], rows: int, batches: Chunks, what: str) -> None:
    partials = [target.with_suffix(".partial.npy") for target in targets]
    mark = targets[0].with_suffix(".done")
    for partial, target in zip(partials, targets, strict=True):
        if mark.exists() and not partial.exists() and _sound(target, rows):
            target.replace(partial)  # a kill came between two of the renames below
    first = _rows_done(partials, mark, rows)
    tables: list[Any] = [np.load(p, mmap_mode="r+") for p in partials] if first else []
    began, row = time.monotonic(), first
    bar = tqdm(total=rows, initial=first, desc=what, unit="face", mininterval=2)
    for batch in batches(first) if first < rows else ():
        tables = tables or _create(partials, rows, batch)
        for table, values in zip(tables, batch, strict=True):
            table[row : row + len(values)] = values
        before, row = row, row + len(batch[0])
        bar.update(row - before)
        if row == rows or row // FLUSH_EVERY > before // FLUSH_EVERY:
            for table in tables:
                table.flush()
            mark.write_text(str(row), encoding="utf-8")
    bar.close()
    if row < rows:
        raise ConfigError(f"{targets[0]}: {what} gave {row} of {counted(rows, 'row')}")
    del tables
    for partial, target in zip(partials, targets, strict=True):
        seal(partial, _label(target))
        partial.replace(target)
    mark.unlink(missing_ok=True)
    rate = (rows - first) / max(time.monotonic() - began, 1e-9)
    tqdm.write(f"{what}: {counted(rows - first, 'face')}, {rate:.0f} faces/s", file=sys.stderr)


def _create(
    partials: Sequence[Path], rows: int, batch: Sequence[Table]
) -> list[Any]:  # memory maps, which numpy's own types do not know
    needed = sum(rows * values[0].nbytes for values in batch)
    free = shutil.disk_usage(partials[0].parent).free
    if needed + SPARE_BYTES > free:
        raise ConfigError(
            f"{partials[0].parent}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; "
            "name another folder with --cache, or take fewer variants"
        )
    return [
        _allocated(path, values.dtype, (rows, *values.shape[1:]))
        for path, values in zip(partials, batch, strict=True)
    ]


def _allocated(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Any:
    """A memory map of a new file, whose room on the disk is taken at once.

    Otherwise a disk that fills up later kills the process, since a memory map raises no error.
    """
    table = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    try:
        if hasattr(os, "posix_fallocate"):  # macOS has none
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as exc:
        path.unlink()
        raise ConfigError(
            f"{path.parent}: {table.nbytes / 1e9:.1f} GB cannot be written ({exc.strerror}); "
            "name another folder with --cache, or take fewer variants"
        ) from exc
    return table


def _rows_done(partials: Sequence[Path], mark: Path, rows: int) -> int:
    """How far a killed run came; 0 if it cannot be continued."""
    if not mark.exists() or not all(_intact(partial, rows) for partial in partials):
        return 0
    text = mark.read_text(encoding="utf-8")
    return int(text) if text.isdigit() and int(text) <= rows else 0


def _sound(path: Path, rows: int) -> bool:
    """Whether this is the table as it was filled. One of an older version gets its digest now."""
    if not _intact(path, rows):
        return False
    if not has_seal(path):
        table = np.load(path, mmap_mode="r")
        if path.stat().st_size != table.offset + table.nbytes:
            return False
        log.warning("%s has no digest: it is taken as it is, and gets one", path)
        seal(path, _label(path))
    try:
        check_sealed(path, _label(path))
    except KeptFileRefused as exc:
        log.warning("%s: it is not used and made again", exc)
        return False
    return True


def _label(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _intact(path: Path, rows: int) -> bool:
    """Whether the file is a whole table of so many rows."""
    try:
        return bool(len(np.load(path, mmap_mode="r")) == rows)
    except (OSError, ValueError, EOFError):
        return False
