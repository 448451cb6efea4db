"""Best shots on disk for some days. Off unless it is asked for: faces are personal data."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import PARTIAL, private_folder, write_whole
from edge_fiqa.gateway.config.outputs import StoreConfig
from edge_fiqa.gateway.events.event import Event, event_to_json
from edge_fiqa.gateway.outputs.names import safe_name
from edge_fiqa.gateway.outputs.queued import Item, QueuedSink

log = logging.getLogger(__name__)

QUEUE = 500  # snapshots are tens of kB each
PRUNE_EVERY_S = 600.0
DAY_S = 86_400.0
STEP_S = 60.0  # clocks that are kept right are set by less
SUFFIXES = (".jpg", ".json")
DAYS = "*/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
"""Folders that the store makes, below its own; what lies in others is not deleted."""


class StoreSink(QueuedSink):
    """`folder/camera/2026-11-25/track.jpg`, the best face of a track, and its event beside it.

    Files are readable by the gateway's user alone.
    They are deleted retention_days after they were last written, which is checked every ten minutes.
    Beyond max_mb the oldest are deleted earlier.
    If the clock is set while the gateway runs, as on a machine that has none until it reaches the
    network, files written before that are dated anew.
    clock, elapsed: Unix seconds, and seconds that nobody sets.
    """

    def __init__(
        self,
        config: StoreConfig,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("store", queue=QUEUE)
        self.config, self.clock, self.elapsed = config, clock, elapsed
        self._began = clock(), elapsed()
        self._pruned = float("-inf")
        try:
            private_folder(config.folder)
            probe = config.folder / ".writable"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as exc:
            raise ConfigError(f"store.folder: {config.folder}: {exc.strerror}") from exc
        self._start()

    def _deliver(self, batch: Sequence[Item]) -> None:
        for event, snapshot in batch:
            if snapshot is not None:
                self._write(event, snapshot)
        self.delivered += sum(snapshot is not None for _, snapshot in batch)

    def _write(self, event: Event, snapshot: bytes) -> None:
        day = datetime.fromtimestamp(event.started, timezone.utc).strftime("%Y-%m-%d")
        folder = self.config.folder / safe_name(event.camera) / day
        for new in (folder.parent, folder):
            new.mkdir(mode=0o700, exist_ok=True)
        name = safe_name(event.track)
        write_whole(folder / f"{name}.jpg", snapshot, 0o600)
        write_whole(folder / f"{name}.json", event_to_json(event) + b"\n", 0o600)

    def _idle(self) -> None:
        if time.monotonic() - self._pruned >= PRUNE_EVERY_S:
            self.prune()
            self._pruned = time.monotonic()

    def _idle_every_s(self) -> float:
        return PRUNE_EVERY_S

    def prune(self) -> None:
        """Delete what is too old, then the oldest of what is too much. Raises OSError."""
        self._follow_clock()
        latest = self.clock() - self.config.retention_days * DAY_S
        total = 0
        for written, size, file in sorted(self._files(), reverse=True):
            total += size
            if written < latest or total > self.config.max_mb * 1e6:
                file.unlink(missing_ok=True)
        for day in sorted(self.config.folder.glob(DAYS)):
            for folder in (day, day.parent):
                if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                    folder.rmdir()

    def _follow_clock(self) -> None:
        """Shift the dates of files that this process wrote by what the clock was set by."""
        began, since = self._began
        step = self.clock() - began - (self.elapsed() - since)
        if abs(step) < STEP_S:
            return
        log.warning("store: the clock was set by %.0f s: files of this run are dated anew", step)
        for written, _, file in self._files():
            if began <= written <= began + (self.elapsed() - since) + STEP_S:
                os.utime(file, (written + step, written + step))
        self._began = began + step, since

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for file in self.config.folder.glob(f"{DAYS}/*"):
            ours = file.suffix in SUFFIXES or file.suffix == PARTIAL
            if ours and file.is_file() and not file.is_symlink():
                status = file.stat()
                yield status.st_mtime, status.st_size, file
