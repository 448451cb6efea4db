"""A gateway that is killed ends its open tracks at its next start."""

import os
import signal
import sqlite3
import subprocess
import sys

import msgspec
import pytest

from edge_fiqa.gateway.config.gateway import BestShotConfig
from edge_fiqa.gateway.events import open_tracks as module
from edge_fiqa.gateway.events.event_builder import EventBuilder
from edge_fiqa.gateway.events.open_tracks import OpenTracks
from tests.gateway.fake_view import event
from tests.gateway.people import Collected
from tests.waiting import until


def seen(number, type="new", track="door/1/1", **more):
    made = event(number, type, track=track, **more)
    return msgspec.structs.replace(made, id=f"{track}/{number}")


def killed(file):
    """Without `close`, and with the lock of the file free, as after a kill."""
    tracks = OpenTracks(file)
    return tracks, lambda: tracks._database.close()


def test_an_open_track_gets_its_end(tmp_path):
    tracks, kill = killed(tmp_path / "t")
    tracks.note(seen(0))
    tracks.note(seen(1, "update", faces_seen=7))
    kill()
    (end,) = OpenTracks(tmp_path / "t").missing_ends()
    assert (end.id, end.type, end.sequence, end.reason) == ("door/1/1/2", "end", 2, "shutdown")
    assert (end.track, end.faces_seen, end.latency_s) == ("door/1/1", 7, None)
    assert end.record == seen(1).record
    assert end.time > 1_700_000_010


def test_an_end_that_outputs_may_not_have_comes_again_as_it_was(tmp_path, monkeypatch):
    tracks, kill = killed(tmp_path / "t")
    tracks.note(seen(0))
    end = seen(1, "end", reason="left", latency_s=None)
    tracks.note(end)
    kill()
    tracks, kill = killed(tmp_path / "t")
    assert tracks.missing_ends() == [end]
    monkeypatch.setattr(module, "ENDED_S", -1.0)
    tracks.note(end)
    tracks.note(seen(0, track="door/1/2"))
    kill()
    assert [event.track for event in OpenTracks(tmp_path / "t").missing_ends()] == ["door/1/2"]


def test_after_a_normal_stop_nothing_is_missing(tmp_path):
    tracks = OpenTracks(tmp_path / "t")
    tracks.note(seen(0))
    tracks.note(seen(1, "end"))
    tracks.close()
    assert OpenTracks(tmp_path / "t").missing_ends() == []
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600


def test_the_builder_sends_missing_ends_first(tmp_path):
    tracks, kill = killed(tmp_path / "t")
    tracks.note(seen(0))
    kill()
    sink, tracks = Collected(), OpenTracks(tmp_path / "t")
    builder = EventBuilder(BestShotConfig(), [sink], open_tracks=tracks)
    builder.start()
    until(lambda: sink.events)
    builder.finish(5)
    assert [(e.type, e.track, e.sequence) for e in sink.events] == [("end", "door/1/1", 1)]
    assert builder.totals()[0].events == {"end": 1}
    tracks.close()
    assert OpenTracks(tmp_path / "t").missing_ends() == []


def test_a_kill_at_any_moment(tmp_path):
    code = f"""
from pathlib import Path
from edge_fiqa.gateway.events.open_tracks import OpenTracks
from tests.gateway.events.test_open_tracks import seen
tracks = OpenTracks(Path({str(tmp_path / "t")!r}))
number = 0
while True:
    tracks.note(seen(0, track=f"door/1/{{number}}"))
    print(number, flush=True)
    if number >= 3:
        tracks.note(seen(1, "end", track=f"door/1/{{number - 3}}"))
    number += 1
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        for line in process.stdout:
            if int(line) == 30:
                process.send_signal(signal.SIGKILL)
                break
        last = max([30, *(int(line) for line in process.stdout if line.endswith("\n"))])
    ends = OpenTracks(tmp_path / "t").missing_ends()
    assert {f"door/1/{number}" for number in range(last - 2, last + 1)} <= {e.track for e in ends}
    assert all((e.type, e.sequence, e.id) == ("end", 1, f"{e.track}/1") for e in ends)


@pytest.mark.parametrize("damage", [b"not a database" * 300, b""])
def test_a_damaged_file_stops_nothing(tmp_path, damage):
    (tmp_path / "t").write_bytes(damage)
    tracks = OpenTracks(tmp_path / "t")
    assert tracks.missing_ends() == []
    tracks.note(seen(0))
    tracks.close()


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path, caplog):
    tracks = OpenTracks(tmp_path / "t")
    tracks._database.execute("pragma max_page_count = 3")
    for number in range(50):
        tracks.note(seen(0, track=f"door/1/{number}"))
    assert len(caplog.records) == 1
    assert "cannot be noted" in caplog.text
    tracks.close()


def test_two_gateways_do_not_share_it(tmp_path):
    tracks = OpenTracks(tmp_path / "t")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        OpenTracks(tmp_path / "t")
    tracks.close()
