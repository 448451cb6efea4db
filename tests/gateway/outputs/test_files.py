"""Events in a file that rotates, and best shots in a folder that forgets."""

import errno
import json
import os
import time
from datetime import timedelta

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.outputs import FileConfig, StoreConfig
from edge_fiqa.gateway.outputs import file_sink
from edge_fiqa.gateway.outputs.file_sink import FileSink, renamed_files
from edge_fiqa.gateway.outputs.names import safe_name
from edge_fiqa.gateway.outputs.store import DAY_S, StoreSink
from tests.gateway.fake_view import event, jpeg
from tests.waiting import until


def lines(*files):
    return [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]


def test_every_event_is_a_line(tmp_path):
    path = tmp_path / "new" / "events.ndjson"
    sink = FileSink(FileConfig(path=path))
    for number in range(50):
        sink.publish(event(number), None)
    sink.close(5)
    events = lines(path)
    assert [line["sequence"] for line in events] == list(range(50))
    assert events[0]["schema"] == "edge-fiqa-event/1"
    assert events[0]["record"]["quality"]["scalar"] == 73
    assert path.stat().st_mode & 0o777 == 0o600
    assert (sink.delivered, sink.dropped, sink.waiting, sink.problem) == (50, 0, 0, None)
    sink.close(5)
    sink.publish(event(99), None)  # too late: counted, not raised
    assert sink.dropped == 1


def test_folders_made_for_faces_are_private_and_so_are_those_above_them(tmp_path):
    sink = FileSink(FileConfig(path=tmp_path / "a/b/events.ndjson"))
    sink.publish(event(1), None)
    sink.close(5)
    StoreSink(StoreConfig(folder=tmp_path / "c/d", retention_days=1)).close(5)
    for name in ("a", "a/b", "c", "c/d"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_it_goes_on_where_it_ended(tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"sequence": 0}\n{"seque')  # the machine lost power here
    sink = FileSink(FileConfig(path=path))
    sink.publish(event(1), None)
    sink.close(5)
    whole, torn, new = path.read_text(encoding="utf-8").splitlines()
    assert (whole, torn) == ('{"sequence": 0}', '{"seque')
    assert json.loads(new)["sequence"] == 1


def test_full_files_are_set_aside_and_the_oldest_leave(tmp_path):
    path = tmp_path / "events.ndjson"
    other = tmp_path / "events.mine.ndjson"
    other.write_text("not ours", encoding="utf-8")
    sink = FileSink(FileConfig(path=path, max_mb=0.002, keep=3))
    for number in range(20):  # about 1 kB each
        sink.publish(event(number), None)
        until(lambda: sink.waiting == 0)
    sink.close(5)
    old = sorted(renamed_files(path))
    assert len(old) == 3
    assert all(file.stat().st_size <= 2000 for file in [*old, path])
    sequences = [line["sequence"] for line in lines(*old, path)]
    assert sequences == list(range(20))[-len(sequences) :]
    assert len(sequences) >= 4
    assert other.read_text(encoding="utf-8") == "not ours"


def test_a_file_that_is_moved_or_deleted_is_begun_anew(tmp_path):
    path = tmp_path / "events.ndjson"
    sink = FileSink(FileConfig(path=path))
    for number, away in enumerate((lambda: path.rename(tmp_path / "a"), path.unlink, lambda: None)):
        sink.publish(event(number), None)
        until(lambda: sink.waiting == 0)
        away()
    sink.close(5)
    assert [line["sequence"] for line in lines(tmp_path / "a", path)] == [0, 2]


def test_a_full_disk_is_said_and_outlived(tmp_path, monkeypatch):
    """The disk takes half a line and is full; later there is room."""
    full, write = [False], os.write

    def write_half(file, data):
        if full[0] and bytes(data[:1]) != b"":
            if len(data) < 600:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))
            return write(file, data[:500])
        return write(file, data)

    monkeypatch.setattr(file_sink.os, "write", write_half)
    path = tmp_path / "events.ndjson"
    sink = FileSink(FileConfig(path=path))
    sink.publish(event(0), None)
    until(lambda: sink.waiting == 0)
    full[0] = True
    sink.publish(event(1), None)
    until(lambda: sink.problem is not None)
    assert sink.problem == "No space left on device"
    sink.publish(event(2), None)
    assert sink.waiting == 2
    full[0] = False
    sink.close(5)
    assert [line["sequence"] for line in lines(path)] == [0, 1, 2]
    assert (sink.delivered, sink.problem) == (3, None)


def test_a_disk_that_stays_full_does_not_hold_up_the_end(tmp_path, monkeypatch):
    def write(file, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_sink.os, "write", write)
    sink = FileSink(FileConfig(path=tmp_path / "events.ndjson"))
    sink.publish(event(0), None)
    started = time.monotonic()
    sink.close(0.3)
    assert time.monotonic() - started < 60
    assert sink.waiting == 1
    monkeypatch.undo()


def test_a_file_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"file\.path"):
        FileSink(FileConfig(path=tmp_path / "file" / "events.ndjson"))


def test_best_shots_replace_each_other(tmp_path):
    sink = StoreSink(StoreConfig(folder=tmp_path / "shots", retention_days=7))
    first, better = jpeg(seed=1), jpeg(seed=2)
    sink.publish(event(0), first)
    sink.publish(event(1, "update"), better)
    sink.publish(event(2, "end"), None)
    sink.close(5)
    files = sorted(p for p in (tmp_path / "shots").rglob("*") if p.is_file())
    assert [file.suffix for file in files] == [".jpg", ".json"]
    assert files[0].read_bytes() == better
    assert json.loads(files[1].read_text(encoding="utf-8"))["sequence"] == 1
    assert files[0].parent == tmp_path / "shots" / "door" / "2023-11-14"
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    folders = [p for p in (tmp_path / "shots").rglob("*") if p.is_dir()]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_no_name_leaves_the_folder(tmp_path):
    sink = StoreSink(StoreConfig(folder=tmp_path / "shots", retention_days=7))
    for camera in ("../../etc", "/etc", "..", "a\0b", "Tür 1", "x" * 300):
        sink.publish(event(0, camera=camera, track=f"{camera}/1/1"), jpeg())
    sink.close(5)
    assert sink.problem is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shots"]
    assert len(list((tmp_path / "shots").glob("*/*/*.jpg"))) == 6


def test_safe_names_differ_where_names_do():
    names = ["a", "a/b", "a b", "a-b", "", "..", "é", "è", "x" * 81, "x" * 82, "\udc80"]
    assert len({safe_name(name) for name in names}) == len(names)
    assert safe_name("door_1-left") == "door_1-left"


def test_shots_are_forgotten_in_time(tmp_path):
    now = time.time()
    sink = StoreSink(StoreConfig(folder=tmp_path, retention_days=7), clock=lambda: now)
    for number in (0, 1, 2):
        sink.publish(event(0, track=f"t{number}"), jpeg())
    sink.close(5)
    mine = tmp_path / "door" / "2023-11-14" / "holiday.png"
    mine.write_bytes(b"not ours")
    for number, days in enumerate((6.9, 7.1, 30)):
        for file in tmp_path.rglob(f"t{number}.*"):
            os.utime(file, (now - days * DAY_S,) * 2)
    sink.prune()
    remaining = sorted(p.suffix for p in tmp_path.rglob("*") if p.is_file())
    assert remaining == [".jpg", ".json", ".png"]
    mine.unlink()
    now += 8 * DAY_S
    sink.prune()
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_others_in_the_folder_are_kept(tmp_path):
    album = tmp_path / "album" / "summer"
    album.mkdir(parents=True)
    (album / "beach.jpg").write_bytes(b"not ours")
    (tmp_path / "album" / "empty").mkdir()
    os.utime(album / "beach.jpg", (0, 0))
    sink = StoreSink(StoreConfig(folder=tmp_path, retention_days=7))
    sink.prune()
    sink.close(5)
    assert (album / "beach.jpg").exists()
    assert (tmp_path / "album" / "empty").exists()


def test_too_many_shots_push_out_the_oldest(tmp_path):
    size = len(jpeg())
    sink = StoreSink(StoreConfig(folder=tmp_path, retention_days=7, max_mb=3.9 * size / 1e6))
    for number in range(6):
        sink.publish(event(0, track=f"t{number}", record=None), jpeg())
    sink.close(5)
    for number in range(6):
        for file in tmp_path.rglob(f"t{number}.*"):
            os.utime(file, (1e9 + number,) * 2)
    sink.config = sink.config.model_copy(update={"retention_days": 1e6})
    sink.prune()
    assert sorted(p.stem for p in tmp_path.rglob("*.jpg")) == ["t3", "t4", "t5"]


def test_a_clock_that_is_set_back_costs_no_new_events(tmp_path, monkeypatch):
    """The oldest files are deleted by the time in their names."""

    class SetBack(file_sink.datetime):
        days = 0

        @classmethod
        def now(cls, zone):
            return super().now(zone) - timedelta(days=cls.days)

    monkeypatch.setattr(file_sink, "datetime", SetBack)
    path = tmp_path / "events.ndjson"
    sink = FileSink(FileConfig(path=path, max_mb=0.002, keep=2))
    for number in range(30):
        SetBack.days = number  # every day a day earlier
        sink.publish(event(number), None)
        until(lambda number=number: sink.delivered == number + 1)
    sink.close(5)
    kept = [line["sequence"] for line in lines(*sorted(renamed_files(path)), path)]
    assert kept == list(range(kept[0], 30))
    assert len(renamed_files(path)) == 2


@pytest.mark.parametrize("step", [20_000 * DAY_S, -400 * DAY_S])
def test_shots_outlive_a_clock_that_is_set(tmp_path, step, caplog, monkeypatch):
    """A board without a clock starts in 1970, and learns the date later."""
    monkeypatch.setattr(StoreSink, "_idle", lambda self: None)  # pruned here by hand
    now = {"clock": time.time() - step, "elapsed": 0.0}
    sink = StoreSink(
        StoreConfig(folder=tmp_path, retention_days=7),
        lambda: now["clock"],
        lambda: now["elapsed"],
    )
    sink.publish(event(0), jpeg())
    until(lambda: sink.delivered == 1)
    shots = sorted(tmp_path.glob("*/*/*"))
    for file in shots:
        os.utime(file, (now["clock"] + 5, now["clock"] + 5))
    earlier = tmp_path / "door" / "2000-01-01"
    earlier.mkdir()
    (earlier / "old.jpg").write_bytes(b"x")
    os.utime(earlier / "old.jpg", (time.time() - 8 * DAY_S,) * 2)  # of a run with the right date
    now["clock"] += step + 600
    now["elapsed"] += 600
    sink.prune()
    assert sorted(tmp_path.glob("*/*/*")) == shots
    assert "the clock was set by" in caplog.text
    now["clock"] += 8 * DAY_S
    now["elapsed"] += 8 * DAY_S
    sink.prune()
    assert not list(tmp_path.glob("*/*/*"))
    sink.close(5)
