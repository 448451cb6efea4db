"""Tracks that are open now, on disk: a gateway that is killed ends them at its next start."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections import deque
from pathlib import Path

import msgspec

from edge_fiqa.files import private_folder
from edge_fiqa.gateway.events.event import Event, event_to_json

log = logging.getLogger(__name__)

ENDED_S = 10.0
"""An `end` is kept for so long, since outputs may still hold it in memory."""
SCHEMA = "create table if not exists track (id text primary key, event blob not null)"


class OpenTracks:
    """The latest event of every open track, in `file`. Belongs to one thread after it is opened.

    It survives a kill of the process. After a power cut the last events may be missing: writing
    waits for no disk. Nothing here raises after `__init__`: the log says once what fails.
    `__init__` raises OSError and sqlite3.Error; a damaged file is begun anew.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._ended: deque[tuple[float, str]] = deque()
        self._failing = False
        private_folder(file.parent)
        file.touch(mode=0o600)
        try:
            self._database = self._opened()
        except sqlite3.DatabaseError as exc:
            if isinstance(exc, sqlite3.OperationalError):
                raise
            log.warning("%s was damaged (%s) and is begun anew", file, exc)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{file}{suffix}").unlink(missing_ok=True)
            file.touch(mode=0o600)
            self._database = self._opened()

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self.file, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            for setting in (
                "locking_mode = exclusive",
                "journal_mode = wal",
                "synchronous = normal",
                "secure_delete = on",
            ):
                database.execute(f"pragma {setting}")
            database.execute(SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def missing_ends(self) -> list[Event]:
        """The `end` of every track that an earlier process left open.

        It has the identity that its next event would have had, and the best face so far.
        An `end` that may not have reached every output comes again as it was.
        """
        rows = []
        with contextlib.suppress(sqlite3.Error):
            rows = self._database.execute("select id, event from track order by rowid").fetchall()
        ends = []
        for track, row in rows:
            try:
                event = msgspec.json.decode(row, type=Event)
            except msgspec.MsgspecError:  # written by another version
                self._ended.append((0.0, track))
                continue
            ends.append(event if event.type == "end" else _end_of(event))
        return ends

    def note(self, event: Event) -> None:
        """The latest event of its track: before the outputs get it, or after them if it is `end`."""
        now = time.monotonic()
        forgotten = []
        while self._ended and now - self._ended[0][0] > ENDED_S:
            forgotten.append((self._ended.popleft()[1],))
        try:
            self._database.execute(
                "insert into track values (?, ?) "
                "on conflict (id) do update set event = excluded.event",
                (event.track, event_to_json(event)),
            )
            if forgotten:
                self._database.executemany("delete from track where id = ?", forgotten)
            self._failing = False
        except sqlite3.Error as exc:
            if not self._failing:
                log.warning("open tracks cannot be noted (%s): a kill leaves them open", exc)
            self._failing = True
        if event.type == "end":
            self._ended.append((now, event.track))

    def close(self) -> None:
        """After the outputs are closed: every `end` is where it should be."""
        with contextlib.suppress(sqlite3.Error):
            ended = [(track,) for _, track in self._ended]
            self._database.executemany("delete from track where id = ?", ended)
        self._database.close()


def _end_of(event: Event) -> Event:
    sequence = event.sequence + 1
    return msgspec.structs.replace(
        event,
        id=f"{event.track}/{sequence}",
        type="end",
        sequence=sequence,
        time=time.time(),
        latency_s=None,
        reason="shutdown",
    )
