"""Tables on disk: filled once, resumed after a kill, never half believed."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.training import store
from edge_fiqa.training.store import Stack, fill

TRUTH = np.arange(30, dtype=np.float32).reshape(10, 3)


def source(calls, kill_at=None):
    def batches(first):
        calls.append(first)
        for row in range(first, len(TRUTH)):
            if row == kill_at:
                raise KeyboardInterrupt
            yield TRUTH[row : row + 1], TRUTH[row : row + 1, :1]

    return batches


def targets(folder):
    return [folder / "a.npy", folder / "b.npy"]


def test_a_kill_costs_the_rows_since_the_last_flush(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_EVERY", 3)
    calls = []
    with pytest.raises(KeyboardInterrupt):
        fill(targets(tmp_path), 10, source(calls, kill_at=8), "rows")
    a, b = fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == [0, 6]
    np.testing.assert_array_equal(a, TRUTH)
    np.testing.assert_array_equal(b, TRUTH[:, :1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.npy"]
    fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == [0, 6]


@pytest.mark.parametrize("damage", ["truncated", "of other rows", "not a table", "gone", "pickled"])
def test_a_damaged_or_foreign_table_is_made_again(tmp_path, damage):
    fill(targets(tmp_path), 10, source([]), "rows")
    victim = tmp_path / "b.npy"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-5])
    elif damage == "of other rows":
        np.save(victim, TRUTH[:7])
    elif damage == "not a table":
        victim.write_bytes(b"something else")
    elif damage == "pickled":
        np.save(victim, np.array([{}] * 10, object), allow_pickle=True)
    else:
        victim.unlink()
    calls = []
    a, b = fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == [0]
    np.testing.assert_array_equal(a, TRUTH)
    np.testing.assert_array_equal(b, TRUTH[:, :1])


def test_a_changed_number_is_noticed_and_made_again(tmp_path, caplog):
    fill(targets(tmp_path), 10, source([]), "rows")
    victim = tmp_path / "a.npy"
    data = bytearray(victim.read_bytes())
    data[140] ^= 1  # behind the header of 128 bytes
    victim.write_bytes(data)
    calls = []
    a, _ = fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == [0]
    np.testing.assert_array_equal(a, TRUTH)
    assert caplog.messages == [f"{victim} is damaged or was changed: it is not used and made again"]


def test_a_table_of_an_older_version_gets_its_digest(tmp_path, caplog):
    np.save(tmp_path / "a.npy", TRUTH)
    np.save(tmp_path / "b.npy", TRUTH[:, :1])
    calls = []
    for _ in range(2):
        a, _ = fill(targets(tmp_path), 10, source(calls), "rows")
        np.testing.assert_array_equal(a, TRUTH)
    assert calls == []
    assert len(caplog.messages) == 2  # once each


@pytest.mark.parametrize("killed_at", [1, 2])
def test_a_kill_between_the_renames_costs_nothing(tmp_path, monkeypatch, killed_at):
    names, replace = [], Path.replace

    def killed(path, target):
        names.append(target)
        if len(names) == killed_at:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(targets(tmp_path), 10, source([]), "rows")
    monkeypatch.undo()
    calls = []
    a, b = fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == []
    np.testing.assert_array_equal(a, TRUTH)
    np.testing.assert_array_equal(b, TRUTH[:, :1])
    fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == []


def test_room_on_the_disk_is_taken_at_the_start(tmp_path, monkeypatch):
    """A memory map on a full disk kills the process with SIGBUS, without a word."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        ConfigError, match=r"cannot be written .No space left on device.; name another"
    ):
        fill(targets(tmp_path), 10, source([]), "rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", ["many", "-3", "11", ""])
def test_a_damaged_mark_begins_anew(tmp_path, mark):
    with pytest.raises(KeyboardInterrupt):
        fill(targets(tmp_path), 10, source([], kill_at=9), "rows")
    (tmp_path / "a.done").write_text(mark, encoding="utf-8")
    calls = []
    fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == [0]


def test_a_partial_table_without_its_end_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_EVERY", 3)
    with pytest.raises(KeyboardInterrupt):
        fill(targets(tmp_path), 10, source([], kill_at=8), "rows")
    partial = tmp_path / "b.partial.npy"
    partial.write_bytes(partial.read_bytes()[:-4])
    calls = []
    fill(targets(tmp_path), 10, source(calls), "rows")
    assert calls == [0]


def test_too_few_rows_and_a_full_disk_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="10 of 12 rows"):
        fill(targets(tmp_path), 12, source([]), "rows")
    monkeypatch.setattr(store, "SPARE_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match="GB are free"):
        fill([tmp_path / "c.npy", tmp_path / "d.npy"], 10, source([]), "rows")


def test_a_stack_is_indexed_like_its_tables_joined():
    stack = Stack([TRUTH[:4], TRUTH[4:5], TRUTH[5:]])
    rows = np.array([9, 0, 4, 4, 3])
    assert stack.shape == (10, 3)
    assert len(stack) == 10
    np.testing.assert_array_equal(stack[rows], TRUTH[rows])
    np.testing.assert_array_equal(stack[2:9:3], TRUTH[2:9:3])
    np.testing.assert_array_equal(stack[:], TRUTH)
    stack[:][:] = 0  # a copy
    assert stack[np.array([9])].sum() == TRUTH[9].sum()
    with pytest.raises(IndexError):
        stack[np.array([10])]
