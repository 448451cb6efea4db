"""Messages that wait on disk for a broker: in order, bounded, and kept over a crash.

SQLite keeps them. Its journal makes sure that an append is on disk as a whole, or not at all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.files import no_descriptors, private_folder

log = logging.getLogger(__name__)

MESSAGE_BYTES = 100
"""What a message takes on disk beside its payload, about."""
DAMAGED_DAYS, DAY_S = 7, 86_400.0
JOURNALS = ("", "-wal", "-shm")
SCHEMA = (
    """create table if not exists message (
        number integer primary key autoincrement,
        payload blob not null
    )""",
    "create table if not exists retained (topic text primary key)",
    "create table if not exists client (id text not null)",
)


class Spool:
    """A queue of byte strings numbered 1, 2, ... in `file`. Belongs to one thread after it is opened.

    It also keeps which topics hold a retained message of ours at the broker, and the client's id.
    Beyond `limit_bytes` the oldest are dropped, and counted in `dropped`.
    Methods raise sqlite3.Error where the disk is full or gone, and have then changed nothing.
    A file that is damaged is renamed to `file.damaged`, and a new one is begun with all messages that
    can still be read of it. The log says so. It is deleted after DAMAGED_DAYS: messages are personal
    data, and must not stay where nobody looks.
    Raises ConfigError if the disk is full, or another process has the file open.
    """

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self.file, self.limit_bytes = file, limit_bytes
        self.dropped = 0
        try:
            private_folder(file.parent)
            file.touch(mode=0o600)
            try:
                self._open()
            except sqlite3.DatabaseError as exc:
                if isinstance(exc, sqlite3.OperationalError):
                    raise
                self._begin_anew(exc)
        except OSError as exc:
            raise ConfigError(f"mqtt.spool: {file.parent}: {exc.strerror}") from exc
        except sqlite3.Error as exc:
            raise ConfigError(f"mqtt.spool: {file}: {_remedy(exc)}") from exc
        self.delete_old_damaged()

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
            for statement in SCHEMA:
                self._database.execute(statement)
            if (check := self._database.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(check)
            count, size = self._database.execute(
                "select count(*), coalesce(sum(length(payload)), 0) from message"
            ).fetchone()
        except sqlite3.Error:
            self._database.close()
            raise
        self.count: int = count
        self.bytes: int = size + count * MESSAGE_BYTES

    def _begin_anew(self, exc: sqlite3.DatabaseError) -> None:
        for suffix in JOURNALS:
            with contextlib.suppress(FileNotFoundError):
                damaged = Path(f"{self.file}{suffix}").replace(f"{self.file}.damaged{suffix}")
                os.utime(damaged)
        self.file.touch(mode=0o600)
        self._open()
        readable, topics = _readable(Path(f"{self.file}.damaged"))
        self.append(readable)
        self.note_retained(topics)
        log.warning(
            "mqtt.spool: %s was damaged (%s): %s that can be read of it will be sent, others "
            "are lost; the damaged file is kept for %d days as %s.damaged",
            *(self.file, exc, counted(len(readable), "event"), DAMAGED_DAYS, self.file.name),
        )

    def delete_old_damaged(self, now: float | None = None) -> None:
        """now: Unix seconds."""
        latest = (time.time() if now is None else now) - DAMAGED_DAYS * DAY_S
        for suffix in JOURNALS:
            with contextlib.suppress(OSError):
                damaged = Path(f"{self.file}.damaged{suffix}")
                if damaged.stat().st_mtime < latest:
                    damaged.unlink()
                    log.info("mqtt.spool: %s is deleted after %d days", damaged, DAMAGED_DAYS)

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

    def retained(self) -> set[str]:
        """Topics that hold a retained message of ours."""
        return {topic for (topic,) in self._database.execute("select topic from retained")}

    def note_retained(self, topics: Iterable[str]) -> None:
        """Before they are sent: a topic that is not noted would stay at the broker for ever."""
        with self._transaction() as database:
            database.executemany(
                "insert or ignore into retained values (?)", ((topic,) for topic in topics)
            )

    def forget_retained(self, topic: str) -> None:
        """The broker has acknowledged that it is empty."""
        self._database.execute("delete from retained where topic = ?", (topic,))

    def client_id(self, new: str) -> str:
        """The id that this spool's gateway has at brokers: `new` the first time it is asked for."""
        with self._transaction() as database:
            row = database.execute("select id from client").fetchone()
            if row is None:
                database.execute("insert into client values (?)", (new,))
        return new if row is None else str(row[0])

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


def _readable(file: Path) -> tuple[list[bytes], set[str]]:
    """Messages, in order, and retained topics of a damaged file, without those in a damaged page."""
    messages: list[bytes] = []
    topics: set[str] = set()
    database = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)
    with contextlib.closing(database):
        with contextlib.suppress(sqlite3.Error):
            topics.update(topic for (topic,) in database.execute("select topic from retained"))
        with contextlib.suppress(sqlite3.Error):
            (last,) = database.execute("select max(number) from message").fetchone()
            first = database.execute("select min(number) from message").fetchone()[0]
            for number in range(first or 0, (last or -1) + 1):
                with contextlib.suppress(sqlite3.Error):
                    row = database.execute(
                        "select payload from message where number = ?", (number,)
                    ).fetchone()
                    if row is not None:
                        messages.append(bytes(row[0]))
    return messages, topics


def _remedy(exc: sqlite3.Error) -> str:
    if reason := no_descriptors():
        return reason
    if "full" in str(exc):
        return "the disk is full; free some space"
    if "locked" in str(exc):
        return f"{exc}; is another gateway using it?"
    return f"{exc}; may this user write there?"
