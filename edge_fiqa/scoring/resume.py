"""A record file that the next run of the same command goes on filling.

An image whose faces all have a score is done. An image with a face without a score is scored again.
An image is also scored again if a crash may have stopped it after some of its faces, if its picture
changed since, or if it has another number of faces now. Its new records then take the place of the
old ones.

Records of new images are appended. To replace records, the whole file is written anew beside the old
one and then takes its name, so that at any moment each face stands there once. So is a CSV of an
older version, with the columns that it lacks, when the first new record comes.

Beside `FILE` stand `FILE.run.json` (run_settings.py) and `.FILE.lock`, which is locked while a run
writes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import lock_of, locked, write_all
from edge_fiqa.record import Record
from edge_fiqa.scoring.added_columns import with_added_columns
from edge_fiqa.scoring.changed_pictures import changed_pictures
from edge_fiqa.scoring.output import (
    FileFormat,
    cannot_be_written,
    csv_header,
    encode,
)
from edge_fiqa.scoring.replaced_rows import with_replacements, written_anew
from edge_fiqa.scoring.run_settings import RunFile, RunSettings, read_run_file
from edge_fiqa.scoring.stored_images import (
    StoredImages,
    column_names,
    columns_difference,
    read_header,
    read_images,
)
from edge_fiqa.scoring.stored_rows import begins_as_records

MOST_REPLACEMENTS = 1000
"""With the new records of so many images in memory, the file is written anew."""
REMEDY = "choose another --output or give --overwrite"
logger = logging.getLogger("edge_fiqa.scoring")


class ResumableFile:
    """A record file, locked against other runs and open for appending. Threads may share it.

    `done` holds the sources that need not be scored again. Raises ConfigError if the file cannot be
    written, is something else, is being written by another run, or holds scores that were made with
    other settings.
    """

    def __init__(
        self, path: Path, form: FileFormat, run: RunSettings, *, overwrite: bool = False
    ) -> None:
        self.path = path
        self._file = path.resolve()  # a link stays a link when the file is written anew
        self._form, self._run = form, run
        self._lock = threading.Lock()
        self._replacements: dict[str, bytes] = {}  # source -> its new lines
        try:
            self._file_lock = _locked(self._file, path)
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

    @property
    def changed(self) -> Collection[str]:
        """Return the sources whose pictures changed since they were scored."""
        return self._changed

    def rescore_unless(self, source: str, faces: int) -> bool:
        """Take a done image as not done unless it has a row for each of its faces.

        faces: their number. Returns whether it is to be scored again.
        """
        with self._lock:
            differs = source in self._stored.done and self._stored.faces[source] != faces
            if differs:
                self._stored.rescore({source})
            return differs

    def write(self, records: Sequence[Record]) -> None:
        """Write the records of one image, or keep them to replace the old ones."""
        with self._lock:
            header = csv_header(records[0])
            self._check_columns(header)
            try:
                self._add_columns(header)
                if records[0].source not in self._stored.to_rescore:
                    self._append(records)
                else:
                    self._replace_later(records)
            except OSError as exc:
                raise cannot_be_written(self.path, exc) from exc

    def close(self) -> None:
        """Write the replacements. Raises ConfigError if it fails; the file then stays as it was."""
        with self._lock:
            try:
                if self._replacements:
                    self._replace()
                if not self._out.closed:  # a failure to open it again was told by then
                    os.fsync(self._out.fileno())
                    self._write_run_file()
            except OSError as exc:
                raise cannot_be_written(self.path, exc) from exc
            finally:
                self._out.close()
                self._unlock()

    def _unlock(self) -> None:
        self._file_lock.close()

    def _open(self, overwrite: bool) -> None:
        if overwrite:
            self._check_ours()
            _run_file(self._file).unlink(missing_ok=True)
            self._file.write_bytes(b"")
        self._file.touch()
        self._stored = self._read()
        last_source = self._stored.last_source
        kept = read_run_file(_run_file(self._file)) if last_source else None
        self._refuse_other_settings(kept)
        # Only what has rows can be replaced: those of an image may have been removed by hand.
        self._unfinished = self._stored.among(kept.unfinished) if kept else set()
        # A run notes the size of the file when it closes it. With another size, or none, the last run
        # may have crashed between two faces of its last image.
        if last_source and (kept is None or kept.size != self._file.stat().st_size):
            self._unfinished.add(last_source)
        self._started_ns = time.time_ns()
        self._changed = self._stored.among(kept.changed) if kept else set()
        if kept is not None and kept.started_ns is not None:
            done = self._stored.done
            self._changed |= changed_pictures(done, kept.started_ns, self._started_ns)
        self._stored.rescore(self._unfinished | self._changed)
        self._open_for_appending(self._stored.whole_until)
        self._write_run_file()

    def _check_ours(self) -> None:
        """Raises ConfigError for a file that is no record file, whatever its form and its damage."""
        if self._file.exists() and not begins_as_records(self._file):
            raise ConfigError(
                f"{self.path} is not a record file of edge_fiqa: it is not overwritten; choose another "
                "--output or remove it"
            )

    def _read(self) -> StoredImages:
        try:
            return read_images(self._file, self._form)
        except (ValueError, msgspec.MsgspecError) as exc:
            raise ConfigError(
                f"{self.path} exists and is not a {self._form} file of edge_fiqa, or was changed by "
                f"another program ({exc}); {REMEDY}"
            ) from exc

    def _open_for_appending(self, end: int | None = None) -> None:
        """Open the file at its end.

        end: what follows it is removed first. It is a row that a crash cut off.
        """
        self._out = self._file.open("r+b", buffering=0)
        if end is not None:
            self._out.truncate(end)
        self._out.seek(0, os.SEEK_END)

    def _refuse_other_settings(self, kept: RunFile | None) -> None:
        """Raise ConfigError if a score in the file was made with other settings than those of this run.

        Rows without a score do not count: their images are scored again, with the settings of this run.
        """
        settings_seen = self._stored.settings_seen
        if not settings_seen:
            return
        differences = [self._run.scale_difference(row) for row in settings_seen]
        if kept is not None:
            differences.append(self._run.difference(kept.settings))
        else:
            differences += [self._run.settings_difference(row) for row in settings_seen]
        if difference := next(filter(None, differences), None):
            raise ConfigError(
                f"{self.path} was written with other settings: {difference}; {REMEDY}"
            )
        if kept is None:
            logger.warning(
                "%s has no %s beside it: settings are judged by its rows alone, and pictures that "
                "changed since are not noticed",
                self.path,
                _run_file(self.path).name,
            )

    def _check_columns(self, header: bytes) -> None:
        if difference := columns_difference(self._stored.header, header):
            raise ConfigError(f"{self.path} has other columns{difference}; {REMEDY}")

    def _add_columns(self, header: bytes) -> None:
        """Write a CSV of an older version anew, with the columns that it lacks, empty."""
        columns = column_names(header)
        if not self._stored.header or columns == column_names(self._stored.header):
            return
        with written_anew(self._file) as new:
            new.writelines(with_added_columns(self._file, columns, self._stored.line_end))
        self._stored.header = read_header(self._file, self._form)
        self._out.close()
        self._open_for_appending()
        self._write_run_file()

    def _append(self, records: Sequence[Record]) -> None:
        size = self._out.tell()
        data = encode(records, self._form, self._stored.line_end)
        if size == 0 and self._form == "csv":
            data = csv_header(records[0], self._stored.line_end) + data
        try:
            write_all(self._out, data)
        except OSError:
            with contextlib.suppress(OSError):  # the next run removes it otherwise
                self._out.seek(size)  # else zeros would fill the gap before the next row
                self._out.truncate()
            raise

    def _replace_later(self, records: Sequence[Record]) -> None:
        """Keep the new records of an image in memory until the file is written anew.

        If the image had a score and now has none, they are dropped: no failure replaces a score,
        unless that was of another picture.
        """
        source = records[0].source
        has_score = any(record.quality.code == "ok" for record in records)
        if has_score or source in self._changed or source not in self._stored.partly_scored:
            self._replacements[source] = encode(records, self._form, self._stored.line_end)
        if len(self._replacements) >= MOST_REPLACEMENTS:
            self._replace()
            self._write_run_file()

    def _replace(self) -> None:
        """Write the file anew, with the new records of each image in the place of its old ones."""
        with written_anew(self._file) as new:
            for part in with_replacements(self._file, self._form, self._replacements):
                new.write(part)
        self._stored.to_rescore -= self._replacements.keys()
        self._unfinished -= self._replacements.keys()
        self._changed -= self._replacements.keys()
        self._replacements.clear()
        self._out.close()
        self._open_for_appending()

    def _write_run_file(self) -> None:
        run = RunFile(
            settings=dict(self._run.described),
            size=self._out.tell(),
            unfinished=tuple(sorted(self._unfinished)),
            started_ns=self._started_ns,
            changed=tuple(sorted(self._changed)),
        )
        with written_anew(_run_file(self._file)) as file:
            file.write(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def _run_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.run.json")


def _locked(file: Path, name: Path) -> contextlib.ExitStack:
    """Lock the file. name: for messages."""
    if not file.parent.is_dir():  # FileLock would make it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    held = contextlib.ExitStack()
    busy = f"{name} is being written by another run; wait for its end or choose another --output"
    held.enter_context(locked(lock_of(file), busy))
    return held
