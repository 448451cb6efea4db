"""Spool, store and file on a disk that is really full: nothing half written, and it goes on."""

import json
import os
import subprocess
import time

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.outputs import FileConfig, StoreConfig
from edge_fiqa.gateway.outputs.file_sink import FileSink
from edge_fiqa.gateway.outputs.spool import Spool
from edge_fiqa.gateway.outputs.store import DAY_S, StoreSink
from tests.gateway.fake_view import event, jpeg
from tests.waiting import until


@pytest.fixture
def disk(tmp_path):
    """A file system of 400 kB; `fill` leaves no byte of it."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def fill(disk):
    with (disk / "filler").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def files(folder):
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


def test_a_spool_that_cannot_begin(disk):
    fill(disk)
    with pytest.raises(ConfigError, match="the disk is full; free some space"):
        Spool(disk / "spool" / "s", 10**6)


def test_a_spool_keeps_what_it_has(disk):
    spool = Spool(disk / "spool" / "s", 10**6)
    spool.append([b"a" * 5000, b"b" * 5000])
    spool.close()
    fill(disk)
    spool = Spool(disk / "spool" / "s", 10**6)
    for change in (lambda: spool.append([b"c" * 9000]), lambda: spool.remove([1])):
        with pytest.raises(Exception, match="full"):
            change()
        assert [number for number, _ in spool.after(0, 9)] == [1, 2]
        assert spool.count == 2
    (disk / "filler").unlink()
    spool.remove([1])
    spool.append([b"c" * 9000])
    assert [payload[:1] for _, payload in spool.after(0, 9)] == [b"b", b"c"]
    spool.close()


def test_lines_are_whole_and_none_is_lost(disk, caplog):
    path = disk / "events.ndjson"
    sink = FileSink(FileConfig(path=path))
    sink.publish(event(0), None)
    until(lambda: sink.delivered == 1)
    fill(disk)
    for number in range(1, 60):  # 60 kB
        sink.publish(event(number), None)
    until(lambda: sink.problem == "No space left on device")
    assert all(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    (disk / "filler").unlink()
    until(lambda: sink.delivered == 60)
    sink.close(5)
    written = [json.loads(line)["sequence"] for line in path.read_text("utf-8").splitlines()]
    assert written == list(range(60))
    assert len(caplog.records) == 1


def test_shots_are_whole_and_old_ones_leave_all_the_same(disk, monkeypatch):
    """Retention is a promise to people. A full disk must not break it; and it frees the disk."""
    monkeypatch.setattr("edge_fiqa.gateway.outputs.store.PRUNE_EVERY_S", 0.0)
    folder = disk / "shots"
    sink = StoreSink(StoreConfig(folder=folder, retention_days=1))
    sink.publish(event(0), jpeg())
    until(lambda: sink.delivered == 1)
    old = files(folder)
    fill(disk)
    sink.publish(event(1, track="door/1/2"), jpeg(700, 700))
    until(lambda: sink.problem == "No space left on device")
    assert files(folder) == old
    long_ago = time.time() - 2 * DAY_S
    for file in folder.rglob("*.*"):
        os.utime(file, (long_ago, long_ago))
    until(lambda: not set(old) & set(files(folder)))
    (disk / "filler").unlink()
    until(lambda: sink.delivered == 2)
    sink.close(5)
    assert [name[-4:] for name in files(folder)] == [".jpg", "json"]
