"""Messages that wait on disk for a broker: in order, bounded, and kept over a crash.

SQLite keeps them. Its journal makes sure that an append is on disk as a whole, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edge_fiqa.errors import ConfigError

MESSAGE_BYTES = 100
"""What a message takes on disk beside its payload, about."""
SCHEMA = """
create table if not exists message (
    number integer primary key autoincrement,
    payload blob not null
)
"""


class Spool:
    """A queue of byte strings numbered 1, 2, ... in `file`. Belongs to one thread after it is opened.

    Beyond `limit_bytes` the oldest are dropped, and counted in `dropped`.
    Methods raise sqlite3.Error where the disk is full or gone, and have then changed nothing.
    A file that is damaged is renamed to `file.damaged`, once, and a new one is begun.
    Raises ConfigError if that fails or another process has the file open.
    """

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self.file, self.limit_bytes = file, limit_bytes
        self.dropped = 0
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
            try:
                self._open()
            except sqlite3.DatabaseError as exc:
                if isinstance(exc, sqlite3.OperationalError):
                    raise
                self._rename_damaged()
                self._open()
        except OSError as exc:
            raise ConfigError(f"mqtt.spool: {file.parent}: {exc.strerror}") from exc
        except sqlite3.Error as exc:
            raise ConfigError(f"mqtt.spool: {file}: {exc}; is another gateway using it?") from exc

    def _open(self) -> None:
        self._database = sqlite3.connect(
            self.file, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            # SQLite gives its journals the mode of the database. Exclusive: two gateways would mix.
            for setting in (
                "locking_mode = exclusive",
                "journal_mode = wal",
                "synchronous = full",
                "auto_vacuum = incremental",
                "secure_delete = on",
            ):
                self._database.execute(f"pragma {setting}")
            self._database.execute(SCHEMA)
            count, size = self._database.execute(
                "select count(*), coalesce(sum(length(payload)), 0) from message"
            ).fetchone()
        except sqlite3.Error:
            self._database.close()
            raise
        self.count: int = count
        self.bytes: int = size + count * MESSAGE_BYTES

    def _rename_damaged(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.file}{suffix}", f"{self.file}.damaged{suffix}")  # noqa: PTH105
        self.file.touch(mode=0o600)

    def append(self, payloads: Iterable[bytes]) -> None:
        """All of them, on the disk when it returns."""
        new = list(payloads)
        added = sum(len(payload) + MESSAGE_BYTES for payload in new)
        count, size, dropped = self.count + len(new), self.bytes + added, 0
        with self._transaction() as database:
            database.executemany(
                "insert into message (payload) values (?)", ((payload,) for payload in new)
            )
            while size > self.limit_bytes and count:
                number, length = database.execute(
                    "select number, length(payload) from message order by number limit 1"
                ).fetchone()
                database.execute("delete from message where number = ?", (number,))
                count, size, dropped = count - 1, size - length - MESSAGE_BYTES, dropped + 1
        self.count, self.bytes, self.dropped = count, size, self.dropped + dropped

    def after(self, number: int, most: int) -> list[tuple[int, bytes]]:
        """The oldest messages with a higher number, with their numbers."""
        return self._database.execute(
            "select number, payload from message where number > ? order by number limit ?",
            (number, most),
        ).fetchall()

    def remove(self, numbers: Sequence[int]) -> None:
        """Messages that are delivered. Numbers that are not there any more do not matter."""
        count, size = self.count, self.bytes
        with self._transaction() as database:
            for number in numbers:
                row = database.execute(
                    "select length(payload) from message where number = ?", (number,)
                ).fetchone()
                if row is not None:
                    database.execute("delete from message where number = ?", (number,))
                    count, size = count - 1, size - row[0] - MESSAGE_BYTES
            database.execute("pragma incremental_vacuum").fetchall()
        self.count, self.bytes = count, size

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("begin immediate")
        try:
            yield self._database
            self._database.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("rollback")
            raise

    def close(self) -> None:
        self._database.close()
