"""Messages on disk: in order, bounded, and there after whatever ends the process."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.outputs.spool import MESSAGE_BYTES, Spool


def payloads(spool, after=0):
    return [payload for _, payload in spool.after(after, 1000)]


def test_first_in_first_out_across_a_restart(tmp_path):
    spool = Spool(tmp_path / "s", 10**6)
    spool.append([b"a", b"b"])
    spool.append([b"c"])
    numbers = [number for number, _ in spool.after(0, 2)]
    spool.remove(numbers[:1])
    spool.close()
    again = Spool(tmp_path / "s", 10**6)
    assert payloads(again) == [b"b", b"c"]
    assert payloads(again, after=numbers[1]) == [b"c"]
    assert (again.count, again.bytes) == (2, 2 + 2 * MESSAGE_BYTES)
    again.close()


def test_numbers_are_never_used_twice(tmp_path):
    """An acknowledgement that comes late must not remove a newer message."""
    spool = Spool(tmp_path / "s", 10**6)
    spool.append([b"a"])
    (first, _), *_ = spool.after(0, 1)
    spool.remove([first])
    spool.append([b"b"])
    spool.remove([first])
    assert payloads(spool) == [b"b"]
    assert spool.count == 1
    spool.close()


def test_the_oldest_leave_first_and_are_counted(tmp_path):
    limit = 10 * (MESSAGE_BYTES + 1000)
    spool = Spool(tmp_path / "s", limit)
    for number in range(25):
        spool.append([bytes([number]) * 1000])
    assert [payload[0] for payload in payloads(spool)] == list(range(15, 25))
    assert spool.dropped == 15
    assert spool.bytes == limit
    spool.append([b"x" * 2 * limit])  # larger than all there is room for
    assert (spool.count, spool.bytes, spool.dropped) == (0, 0, 26)
    spool.close()


def test_the_file_stays_near_its_limit(tmp_path):
    spool = Spool(tmp_path / "s", 200_000)
    for _ in range(300):
        spool.append([os.urandom(10_000)])
        spool.remove([number for number, _ in spool.after(0, 1000)][:-5])
    spool.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1_000_000


def test_what_append_has_returned_from_survives_a_kill(tmp_path):
    code = f"""
from pathlib import Path
from edge_fiqa.gateway.outputs.spool import Spool
spool = Spool(Path({str(tmp_path / "s")!r}), 10**6)
number = 0
while True:
    spool.append([b"%d" % number])
    print(number, flush=True)
    number += 1
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 20:
                process.send_signal(signal.SIGKILL)
                break
        last = max([20, *(int(line) for line in process.stdout if line.endswith("\n"))])
    spool = Spool(tmp_path / "s", 10**6)
    numbers = [int(payload) for payload in payloads(spool)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > last
    spool.close()


def test_nobody_else_may_read_it(tmp_path):
    spool = Spool(tmp_path / "new" / "s", 10**6)
    spool.append([b"a"])
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    spool.close()


def test_two_gateways_cannot_share_it(tmp_path):
    spool = Spool(tmp_path / "s", 10**6)
    with pytest.raises(ConfigError, match="another gateway"):
        Spool(tmp_path / "s", 10**6)
    spool.close()


def test_a_damaged_file_is_set_aside_and_said(tmp_path, caplog):
    (tmp_path / "s").write_bytes(b"not a database, and long enough to be seen as one" * 100)
    spool = Spool(tmp_path / "s", 10**6)
    spool.append([b"a"])
    assert payloads(spool) == [b"a"]
    assert (tmp_path / "s.damaged").read_bytes().startswith(b"not a database")
    (record,) = caplog.records
    assert "was damaged" in record.getMessage()
    assert "s.damaged" in record.getMessage()
    spool.close()


def test_what_can_be_read_of_a_damaged_file_is_kept(tmp_path, caplog):
    """A page in its middle is overwritten, as a failing card does it."""
    spool = Spool(tmp_path / "s", 10**8)
    before = [b"%04d" % number + bytes(6000) for number in range(200)]
    spool.append(before)
    spool.close()
    data = bytearray((tmp_path / "s").read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 3 * 4096] = os.urandom(3 * 4096)
    (tmp_path / "s").write_bytes(data)
    again = Spool(tmp_path / "s", 10**8)
    kept = payloads(again)
    assert 100 < len(kept) < 200
    numbers = [int(payload[:4]) for payload in kept]
    assert numbers == sorted(set(numbers))
    assert f"{len(kept)} events that can be read" in caplog.text
    again.append([b"new"])
    again.close()
    assert (tmp_path / "s.damaged").exists()
    assert payloads(Spool(tmp_path / "s", 10**8)) == [*kept, b"new"]


def test_a_damaged_file_does_not_stay(tmp_path):
    """Its events are personal data. A week is time enough to look at it."""
    (tmp_path / "s").write_bytes(b"not a database" * 500)
    spool = Spool(tmp_path / "s", 10**6)
    spool.delete_old_damaged()
    assert (tmp_path / "s.damaged").exists()
    spool.delete_old_damaged(time.time() + 8 * 86_400)
    assert not (tmp_path / "s.damaged").exists()
    spool.close()


def test_a_full_disk_changes_nothing(tmp_path):
    spool = Spool(tmp_path / "s", 10**9)
    spool.append([b"a"])
    pages = spool._database.execute("pragma page_count").fetchone()[0]
    spool._database.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        spool.append([b"b" * 10_000])
    assert payloads(spool) == [b"a"]
    assert (spool.count, spool.bytes) == (1, 1 + MESSAGE_BYTES)
    spool._database.execute("pragma max_page_count = 1000000")
    spool.append([b"b" * 10_000])
    assert spool.count == 2
    spool.close()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mqtt\.spool"):
        Spool(tmp_path / "file" / "s", 10**6)
