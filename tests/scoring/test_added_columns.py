"""A CSV of an older version, without the columns of reasons, gets them when a run goes on with it."""

import json

import msgspec
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.reasons.causes import CAUSES
from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.scoring import resume
from edge_fiqa.scoring.added_columns import lacks_added_columns
from edge_fiqa.scoring.resume import ResumableFile
from tests.scoring.records import csv_rows, record, run_settings, write_run

OLD_HEADER = (
    "schema,id,source,frame_time,box.x,box.y,box.w,box.h,landmarks.1.x,landmarks.1.y,landmarks.2.x,"
    "landmarks.2.y,landmarks.3.x,landmarks.3.y,landmarks.4.x,landmarks.4.y,landmarks.5.x,"
    "landmarks.5.y,quality.scalar,quality.raw,quality.interval.low,quality.interval.high,"
    "quality.code,quality.algorithm.name,quality.algorithm.version,quality.algorithm.fingerprint,"
    "quality.calibration,exit.depth,exit.reason,exit.scores.1,exit.fusion,cost.gflops,cost.ms,"
    "cost.mj,decision.gate,decision.accepted,decision.risk,decision.confidence,warnings"
)
OLD_ROWS = {
    "a#0": "edge-fiqa/1,a#0,a,,,,,,,,,,,,,,,,50,-1.0,,,ok,nano,1,sha256:ab,sigmoid:1,1,full,-1.0,FW,"
    "1.0,1.0,,,,,,",
    'b,"\n#0': 'edge-fiqa/1,"b,""\n#0","b,""\n",,,,,,,,,,,,,,,,50,1.0,,,ok,nano,1,sha256:ab,sigmoid:1,'
    "1,full,1.0,FW,1.0,1.0,,,,,,odd;stays",
    "./=c#0": "edge-fiqa/1,./=c#0,./=c,,,,,,,,,,,,,,,,,,,,no_face,nano,1,sha256:ab,,,,,FW,1.0,1.0,,,,,,"
    "./=c: it failed",
}
"""As versions before the reasons wrote them."""
SHOWN = Reasons("hold still", (ReportedCause("motion_blur", "Sharpness", 21),), {"motion_blur": 21})
BOM = b"\xef\xbb\xbf"


def old_file(path, line_end="\n", begin=b""):
    text = "".join(f"{line}{line_end}" for line in (OLD_HEADER, *OLD_ROWS.values()))
    path.write_bytes(begin + text.encode())


def with_reasons(source):
    return msgspec.structs.replace(record(source), reasons=SHOWN)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", [b"", BOM], ids=["plain", "byte order mark"])
def test_no_row_is_lost_and_every_cell_stays(tmp_path, line_end, begin):
    path = tmp_path / "out.csv"
    old_file(path, line_end, begin)
    before = csv_rows(path)
    assert write_run(path, "csv", [with_reasons("d")]) == {"a", 'b,"\n'}
    after = csv_rows(path)
    assert path.read_bytes().startswith(begin + b"schema,id,")
    assert path.read_bytes().count(b"\r\n") == (5 if line_end == "\r\n" else 0)
    assert [row["id"] for row in after] == [*OLD_ROWS, "d#0"]
    names = ["instruction", "reported", *CAUSES]
    assert list(after[0]) == [
        *OLD_HEADER.removesuffix("warnings").split(",")[:-1],
        *(f"reasons.{name}" for name in names),
        "warnings",
    ]
    empty = {f"reasons.{name}": "" for name in names}
    assert after[:3] == [{**row, **empty} for row in before]
    assert after[3]["reasons.instruction"] == "hold still"
    assert after[3]["reasons.reported"] == "motion_blur"
    assert after[3]["reasons.motion_blur"] == "21"
    assert write_run(path, "csv") == {"a", 'b,"\n', "d"}


def test_a_file_to_which_nothing_is_added_stays_as_it_is(tmp_path):
    path = tmp_path / "out.csv"
    old_file(path)
    before = path.read_bytes()
    write_run(path, "csv")
    assert path.read_bytes() == before


def test_a_failure_of_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "out.csv"
    old_file(path)
    write_run(path, "csv", [with_reasons("=c")])
    assert [(row["id"], row["quality.code"]) for row in csv_rows(path)] == [
        ("a#0", "ok"),
        ('b,"\n#0', "ok"),
        ("./=c#0", "ok"),
    ]


def test_a_row_that_a_crash_cut_off_is_written_again(tmp_path):
    path = tmp_path / "out.csv"
    old_file(path)
    path.write_bytes(path.read_bytes() + b"edge-fiqa/1,d#0,d,,,")
    write_run(path, "csv", [record("d")], [record("e")])
    assert [row["id"] for row in csv_rows(path)] == [*OLD_ROWS, "d#0", "e#0"]


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    old_file(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "with_added_columns", full)
    with pytest.raises(ConfigError, match=r"out\.csv cannot be written: No space"):
        write_run(path, "csv", [record("d")])
    assert path.read_bytes() == before


def test_other_columns_are_not_added(tmp_path):
    path = tmp_path / "out.csv"
    old_file(path)
    path.write_text(
        path.read_text().replace(",cost.mj", "").replace("1.0,1.0,,,,,,", "1.0,1.0,,,,,")
    )
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="other columns: it was changed by another program"):
        write_run(path, "csv", [record("d")])
    assert path.read_bytes() == before


def test_another_number_of_exits_is_said_of_an_older_file_as_well(tmp_path):
    path = tmp_path / "out.csv"
    old_file(path)
    with pytest.raises(ConfigError, match="other columns, of a model with another number of exits"):
        write_run(path, "csv", [record("d", exits=2)])


@pytest.mark.parametrize(
    ("columns", "lacks"),
    [
        ([b"id", b"warnings"], True),
        ([b"id", b"reasons.yaw", b"warnings"], True),
        ([b"id", b"reasons.yaw", b"reasons.roll", b"warnings"], False),
        ([b"warnings", b"id"], False),
        ([b"id", b"note", b"warnings"], False),
        ([b"id"], False),
    ],
)
def test_which_columns_may_be_missing(columns, lacks):
    expected = [b"id", b"reasons.yaw", b"reasons.roll", b"warnings"]
    assert lacks_added_columns(columns, expected) is lacks


def test_an_older_ndjson_file_is_continued(tmp_path):
    path = tmp_path / "out.ndjson"
    old = msgspec.to_builtins(record("a"))
    del old["reasons"]
    path.write_bytes(json.dumps(old, separators=(",", ":")).encode() + b"\n")
    write_run(path, "ndjson", [record("a")], [with_reasons("b")])
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a#0", "b#0"]
    assert json.loads(lines[1])["reasons"]["instruction"] == "hold still"


def test_a_column_of_a_later_version_is_no_other_number_of_exits(tmp_path):
    path = tmp_path / "out.csv"
    old_file(path)
    write_run(path, "csv", [with_reasons("d")])
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] = lines[0].replace("reasons.yaw", "reasons.later")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="other columns: it was changed by another program"):
        write_run(path, "csv", [record("e")])


def test_a_file_that_cannot_be_opened_again_says_so_and_closes(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    old_file(path)
    file = ResumableFile(path, "csv", run_settings())

    def too_many(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(file, "_open_for_appending", too_many)
    with pytest.raises(ConfigError, match="Too many open files"):
        file.write([record("d")])
    file.close()
    assert [row["id"] for row in csv_rows(path)] == [*OLD_ROWS]
