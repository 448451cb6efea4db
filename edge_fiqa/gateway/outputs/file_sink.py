"""Events as lines of a file, which is renamed when it is large."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import private_folder
from edge_fiqa.gateway.config.outputs import FileConfig
from edge_fiqa.gateway.events.event import Event, event_to_json
from edge_fiqa.gateway.outputs.queued import Item, QueuedSink

FORM = "%Y%m%dT%H%M%S.%fZ"
STAMP = r"\d{8}T\d{6}\.\d{6}Z"


class FileSink(QueuedSink):
    """NDJSON (edge-fiqa-event/1) at `path`; a full file gets a time before the suffix of its name.

    A reader that follows the name sees every line, since a full file is renamed in one step.
    Of the renamed files the newest `keep` stay.
    A line that could not be written as a whole is removed and written again.
    A line that a crash of the machine cut short stays, and gets a newline.
    """

    def __init__(self, config: FileConfig) -> None:
        super().__init__("file")
        self.config = config
        self._file: int | None = None
        self._bytes = 0
        try:
            self._open()
        except OSError as exc:
            raise ConfigError(f"file.path: {config.path}: {exc.strerror}") from exc
        self._start()

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        super().publish(event, None)

    def _open(self) -> int:
        path = self.config.path
        if self._file is not None and not _is_open_file(self._file, path):
            self._shut()  # it was moved or deleted
        if self._file is None:
            private_folder(path.parent)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._bytes = os.fstat(self._file).st_size
            if self._bytes and os.pread(self._file, 1, self._bytes - 1) != b"\n":
                self._append(self._file, b"\n")
        return self._file

    def _deliver(self, batch: Sequence[Item]) -> None:
        lines = b"".join(event_to_json(event) + b"\n" for event, _ in batch)
        self._open()
        if self._bytes and self._bytes + len(lines) > self.config.max_mb * 1e6:
            self._rename()
        self._append(self._open(), lines)
        self.delivered += len(batch)

    def _append(self, file: int, data: bytes) -> None:
        """All of it and on the disk, or none of it."""
        try:
            remaining = memoryview(data)
            while remaining:
                remaining = remaining[os.write(file, remaining) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, self._bytes)
            raise
        self._bytes += len(data)

    def _rename(self) -> None:
        self._shut()
        path = self.config.path
        old = sorted(renamed_files(path))
        stamp = _stamp_after(None if not old else _stamp_of(path, old[-1]))
        path.rename(path.with_name(f"{path.stem}.{stamp}{path.suffix}"))
        old = sorted(renamed_files(path))
        for file in old[: max(0, len(old) - self.config.keep)]:
            file.unlink(missing_ok=True)

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._bytes = None, 0

    def _finish(self) -> None:
        self._shut()


def _is_open_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _stamp_of(path: Path, renamed: Path) -> datetime:
    text = renamed.name[len(path.stem) + 1 : len(renamed.name) - len(path.suffix)]
    return datetime.strptime(text, FORM).replace(tzinfo=timezone.utc)


def _stamp_after(latest: datetime | None) -> str:
    """Now, but later than `latest`: the oldest are deleted by it, and clocks are set back."""
    now = datetime.now(timezone.utc)
    return (now if latest is None else max(now, latest + timedelta(microseconds=1))).strftime(FORM)


def renamed_files(path: Path) -> list[Path]:
    """The files that were `path` before; no other file has a name like theirs."""
    name = re.compile(rf"{re.escape(path.stem)}\.{STAMP}{re.escape(path.suffix)}")
    return [file for file in path.parent.iterdir() if name.fullmatch(file.name)]
