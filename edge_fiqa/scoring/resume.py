"""A record file that the next run of the same command goes on filling.

An image whose faces all have a score is done. One without a score is tried again, and so is one of
which faces may be missing because a crash came between them: its new records replace the old ones,
in their place. Records are appended; where some are replaced, the file is written anew beside itself
and takes the old one's name, so that at any moment each face stands there once.

Beside `FILE` stand `FILE.run.json` (run_settings.py) and `.FILE.lock`, which is locked while a run
writes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from filelock import FileLock, Timeout

from edge_fiqa.errors import ConfigError
from edge_fiqa.record import Record
from edge_fiqa.scoring.output import (
    FileFormat,
    cannot_be_written,
    csv_header,
    encode,
    write_all,
)
from edge_fiqa.scoring.run_settings import RunFile, RunSettings, read_run_file
from edge_fiqa.scoring.stored_rows import StoredImages, read_header, read_images, read_rows

HELD_BACK = 1000
"""So many images that were tried again wait in memory before the file is written anew."""
REMEDY = "choose another --output or give --overwrite"
logger = logging.getLogger("edge_fiqa.scoring")


class ResumableFile:
    """Locked and open for appending; `done` holds the sources that need not be scored again.

    Raises ConfigError if the file cannot be written, is something else, is being written by another
    run, or holds scores that were made with other settings.
    """

    def __init__(
        self, path: Path, form: FileFormat, run: RunSettings, *, overwrite: bool = False
    ) -> None:
        self.path = path
        self._file = path.resolve()  # a link stays a link when the file is written anew
        self._form, self._run = form, run
        self._replacements: dict[str, bytes] = {}  # source -> its new lines
        try:
            self._lock = _locked(self._file, path)
            try:
                self._open(overwrite)
            except BaseException:
                self._unlock()
                raise
        except OSError as exc:
            raise cannot_be_written(path, exc) from exc

    @property
    def done(self) -> Collection[str]:
        return self._stored.done

    def write(self, records: Sequence[Record]) -> None:
        """The records of one image."""
        self._check_columns(records[0])
        try:
            if records[0].source not in self._stored.again:
                self._append(records)
            else:
                self._hold_back(records)
        except OSError as exc:
            raise cannot_be_written(self.path, exc) from exc

    def close(self) -> None:
        """What was held back is written. Raises ConfigError; the file then stays as it was."""
        try:
            if self._replacements:
                self._replace()
            os.fsync(self._out.fileno())
            self._keep_settings()
        except OSError as exc:
            raise cannot_be_written(self.path, exc) from exc
        finally:
            self._out.close()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _open(self, overwrite: bool) -> None:
        if overwrite:
            _run_file(self._file).unlink(missing_ok=True)
            self._file.write_bytes(b"")
        self._file.touch()
        self._stored = self._read()
        kept = read_run_file(_run_file(self._file)) if self._stored.last else None
        self._refuse_other_settings(kept)
        self._unfinished = set(kept.unfinished) if kept else set()
        if self._stored.last and (kept is None or kept.size != self._file.stat().st_size):
            self._unfinished.add(self._stored.last)
        self._stored.try_again(self._unfinished)
        self._open_for_appending(self._stored.end)
        self._keep_settings()

    def _read(self) -> StoredImages:
        try:
            return read_images(self._file, self._form)
        except (ValueError, msgspec.MsgspecError) as exc:
            raise ConfigError(
                f"{self.path} exists and is not a {self._form} file of edge_fiqa ({exc}); {REMEDY}"
            ) from exc

    def _open_for_appending(self, end: int | None = None) -> None:
        """end: what follows was cut off by a crash, and goes."""
        self._out = self._file.open("r+b", buffering=0)
        if end is not None:
            self._out.truncate(end)
        self._out.seek(0, os.SEEK_END)

    def _refuse_other_settings(self, kept: RunFile | None) -> None:
        """Only scores count: what has none is tried again with the settings of now."""
        if not self._stored.kinds:
            return
        differences = [self._run.other_scale(row) for row in self._stored.kinds]
        if kept is not None:
            differences.append(self._run.difference(kept.settings))
        else:
            differences += [self._run.other_settings(row) for row in self._stored.kinds]
        if difference := next(filter(None, differences), None):
            raise ConfigError(
                f"{self.path} was written with other settings: {difference}; {REMEDY}"
            )

    def _check_columns(self, record: Record) -> None:
        header = self._stored.header
        if header and header.replace(b'"', b"") != csv_header(record):
            raise ConfigError(
                f"{self.path} has other columns, of a model with another number of exits; {REMEDY}"
            )

    def _append(self, records: Sequence[Record]) -> None:
        size = self._out.tell()
        data = encode(records, self._form)
        if size == 0 and self._form == "csv":
            data = csv_header(records[0]) + data
        try:
            write_all(self._out, data)
        except OSError:
            with contextlib.suppress(OSError):  # the next run removes it otherwise
                self._out.truncate(size)
            raise

    def _hold_back(self, records: Sequence[Record]) -> None:
        """A score is not replaced by a failure: where an image had one and now has none, it stays."""
        source = records[0].source
        has_score = any(record.quality.code == "ok" for record in records)
        if has_score or source not in self._stored.with_score:
            self._replacements[source] = encode(records, self._form)
        if len(self._replacements) >= HELD_BACK:
            self._replace()
            self._keep_settings()

    def _replace(self) -> None:
        """Write the file anew, with what was held back in the place of what it replaces."""
        with _written_anew(self._file) as new:
            for part in _with_replacements(self._file, self._form, self._replacements):
                new.write(part)
        self._stored.again -= self._replacements.keys()
        self._unfinished -= self._replacements.keys()
        self._replacements.clear()
        self._out.close()
        self._open_for_appending()

    def _keep_settings(self) -> None:
        run = RunFile(
            settings=dict(self._run.described),
            size=self._out.tell(),
            unfinished=tuple(sorted(self._unfinished)),
        )
        with _written_anew(_run_file(self._file)) as file:
            file.write(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def _with_replacements(
    file: Path, form: FileFormat, replacements: Mapping[str, bytes]
) -> Iterator[bytes]:
    """The lines of a file, with the new ones of an image where its first row was."""
    yield read_header(file, form)
    written: set[str] = set()
    with file.open("rb") as old:
        for row in read_rows(old, form):
            if row.source not in replacements:
                yield row.line
            elif row.source not in written:
                written.add(row.source)
                yield replacements[row.source]


def _run_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.run.json")


def _locked(file: Path, name: Path) -> FileLock | None:
    """None, with a warning, where the file system has no locks. name: for messages."""
    if not file.parent.is_dir():  # FileLock would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"{name} is being written by another run; wait for its end or choose another --output"
        ) from None
    except NotImplementedError:
        logger.warning("%s: this file system has no locks; write it with one run at a time", name)
        return None
    return lock


@contextlib.contextmanager
def _written_anew(file: Path) -> Iterator[BinaryIO]:
    """A file beside it, which takes its name once it is whole and on disk."""
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as new:
            yield new
            new.flush()
            os.fsync(new.fileno())
        if file.exists():
            shutil.copymode(file, part)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
