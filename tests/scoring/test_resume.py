"""Output files that survive a crash and go on."""

import contextlib
import csv
import io
import json
import logging
import os
import re
import shutil

import msgspec
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.record import Record
from edge_fiqa.scoring import resume
from edge_fiqa.scoring.resume import ResumableFile
from tests.scoring.records import DESCRIBED, record, run_settings

STRANGE_NAMES = ["a\nb", "c\rd", 'e"f,', "g\r\nh", '"', '""\n"', "é, ü", "end\n"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(resume.os, "fsync", lambda descriptor: None)


def fill(path, form, *images, settings=None, overwrite=False):
    """One run that writes these images where they are not done -> the sources that were."""
    file = ResumableFile(path, form, settings or run_settings(), overwrite=overwrite)
    done = set(file.done)
    with contextlib.closing(file):
        for records in images:
            if records[0].source not in done:
                file.write(records)
    return done


def rows(path, form):
    """(id, code) of each row, by other means than the code under test."""
    text = path.read_bytes().decode("utf-8")
    if form == "csv":
        return [(r["id"], r["quality.code"]) for r in csv.DictReader(io.StringIO(text, newline=""))]
    records = [json.loads(line) for line in text.split("\n")[:-1]]
    return [(r["id"], r["quality"]["code"]) for r in records]


def beside(path):
    return path.with_name(f"{path.name}.run.json")


@pytest.fixture(params=["ndjson", "csv"])
def form(request):
    return request.param


def test_a_second_run_knows_what_is_done(tmp_path, form):
    path = tmp_path / "out"
    assert fill(path, form, [record("a")], [record("b"), record("b", 1)]) == set()
    before = path.read_bytes()
    assert fill(path, form) == {"a", "b"}
    assert path.read_bytes() == before
    fill(path, form, [record("c")])
    assert path.read_bytes().startswith(before)
    assert rows(path, form) == [(f"{face}", "ok") for face in ("a#0", "b#0", "b#1", "c#0")]
    assert path.read_text(encoding="utf-8").count("quality.scalar") == (1 if form == "csv" else 0)


@pytest.mark.parametrize("with_settings_beside_it", [True, False])
def test_cut_at_any_byte_the_next_run_makes_the_same_file(tmp_path, form, with_settings_beside_it):
    """Images of one and of several faces, a failure among them, names that hold what CSV uses."""
    path, saved = tmp_path / "out", tmp_path / "saved"
    images = [
        [record("b"), record("b", 1, code="too_small")],
        [record('"\r\n,'), record('"\r\n,', 1)],
    ]
    fill(path, form, *images)
    whole = path.read_bytes()
    shutil.copy(beside(path), saved)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        beside(path).unlink()
        if with_settings_beside_it:
            shutil.copy(saved, beside(path))
        fill(path, form, *images)
        assert path.read_bytes() == whole, size


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_any_name_is_one_row_and_known_again(tmp_path, form, name):
    path = tmp_path / "out"
    fill(path, form, [record("a")], [record(name), record(name, 1)], [record("b")])
    assert [face for face, _ in rows(path, form)] == ["a#0", f"{name}#0", f"{name}#1", "b#0"]
    assert fill(path, form) == {"a", name, "b"}


def test_the_last_image_of_a_killed_run_may_lack_faces(tmp_path, form):
    """Its rows are whole, but the run did not get to its end: the image is scored again."""
    path = tmp_path / "out"
    killed = ResumableFile(path, form, run_settings())
    killed.write([record("a")])
    killed.write([record("b")])
    killed._out.close()  # as the system does for a process that ends
    killed._file_lock.close()
    assert fill(path, form, [record("c")]) == {"a"}
    assert fill(path, form, [record("b"), record("b", 1)]) == {"a", "c"}
    assert [face for face, _ in rows(path, form)] == ["a#0", "b#0", "b#1", "c#0"]
    assert fill(path, form) == {"a", "b", "c"}


def test_a_row_that_a_crash_cut_off_is_removed(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")], [record("b")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert fill(path, form, [record("c")]) == set()  # a: more of it may have been cut off
    assert [face for face, _ in rows(path, form)] == ["a#0", "c#0"]


def test_of_two_images_that_lack_faces_one_is_scored_again(tmp_path, form):
    """The other still counts as not done for the run after."""
    path = tmp_path / "out"
    for names in ("ab", "c"):
        killed = ResumableFile(path, form, run_settings())
        for name in names:
            killed.write([record(name)])
        killed._out.close()
        killed._file_lock.close()
    assert fill(path, form, [record("b"), record("b", 1)]) == {"a"}
    assert fill(path, form) == {"a", "b"}


def test_an_image_that_lacked_faces_and_whose_rows_were_removed_is_written(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    only_a = path.read_bytes()
    killed = ResumableFile(path, form, run_settings())
    killed.write([record("b")])
    killed._out.close()
    killed._file_lock.close()
    assert fill(path, form) == {"a"}
    path.write_bytes(only_a)  # by hand
    fill(path, form, [record("b"), record("b", 1)])
    assert [face for face, _ in rows(path, form)] == ["a#0", "b#0", "b#1"]


def test_failures_are_tried_again_and_replaced_in_their_place(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a", code="no_face")], [record("b")], [record("c", code="too_small")])
    assert fill(path, form, [record("a"), record("a", 1)], [record("d")]) == {"b"}
    assert rows(path, form) == [
        ("a#0", "ok"),
        ("a#1", "ok"),
        ("b#0", "ok"),
        ("c#0", "too_small"),
        ("d#0", "ok"),
    ]
    assert fill(path, form, [record("c", code="unreadable")]) == {"a", "b", "d"}
    assert rows(path, form)[3] == ("c#0", "unreadable")


def test_a_score_is_not_replaced_by_a_failure(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a"), record("a", 1, code="too_small")])
    assert fill(path, form, [record("a", code="unreadable")]) == set()
    assert rows(path, form) == [("a#0", "ok"), ("a#1", "too_small")]


def test_replacing_writes_the_file_whole_and_keeps_its_mode_and_links(tmp_path, form):
    path, link = tmp_path / "out", tmp_path / "link"
    link.symlink_to(path)
    fill(link, form, [record("a", code="no_face")], [record("b")])
    path.chmod(0o640)
    with path.open("rb") as reader:
        before = path.read_bytes()
        fill(link, form, [record("a")])
        assert reader.read() == before  # the old file was not touched
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert rows(path, form) == [("a#0", "ok"), ("b#0", "ok")]


def test_a_full_disk_while_replacing_loses_nothing(tmp_path, form, monkeypatch):
    path = tmp_path / "out"
    fill(path, form, [record("a", code="no_face")], [record("b")])
    before = path.read_bytes()
    file = ResumableFile(path, form, run_settings())
    file.write([record("a")])
    with monkeypatch.context() as full_disk:
        full_disk.setattr(resume.os, "fsync", _full)
        with pytest.raises(ConfigError, match=cannot_be_written(path, "No space left on device")):
            file.close()
    assert path.read_bytes() == before
    assert fill(path, form, [record("a")]) == {"b"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        ".out.lock",
        "out",
        "out.run.json",
    ]


def _full(descriptor):
    raise OSError(28, os.strerror(28))


def cannot_be_written(path, why):
    return f"^{re.escape(str(path))} cannot be written: {why}$"


def test_an_image_that_was_not_written_whole_leaves_nothing(tmp_path, form, monkeypatch):
    """The disk is full in the middle of an image, and free again for the next."""
    path = tmp_path / "out"
    file = ResumableFile(path, form, run_settings())
    file.write([record("a")])
    before = path.read_bytes()
    with monkeypatch.context() as full_disk:
        full_disk.setattr(resume, "write_all", _half)
        with pytest.raises(ConfigError, match=cannot_be_written(path, "No space left on device")):
            file.write([record("b"), record("b", 1)])
    assert path.read_bytes() == before
    file.write([record("c")])
    file.close()
    assert b"\0" not in path.read_bytes()
    assert rows(path, form) == [("a#0", "ok"), ("c#0", "ok")]
    assert fill(path, form) == {"a", "c"}


def _half(out, data):
    out.write(data[: len(data) // 2])
    _full(out)


def test_a_row_that_cannot_even_be_removed_is_removed_by_the_next_run(tmp_path, form, monkeypatch):
    path = tmp_path / "out"
    file = ResumableFile(path, form, run_settings())
    file.write([record("a")])

    def half_before_the_disk_is_gone(out, data):
        out.write(data[: len(data) // 2])
        with path.open("rb") as read_only:
            os.dup2(read_only.fileno(), out.fileno(), inheritable=False)
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as broken_disk:
        broken_disk.setattr(resume, "write_all", half_before_the_disk_is_gone)
        with pytest.raises(ConfigError, match=cannot_be_written(path, "Input/output error")):
            file.write([record("b")])
    file.close()
    assert fill(path, form, [record("a")], [record("b")]) == set()
    assert rows(path, form) == [("a#0", "ok"), ("b#0", "ok")]


def test_many_that_are_tried_again_do_not_wait_for_the_end(tmp_path, form, monkeypatch):
    monkeypatch.setattr(resume, "MOST_REPLACEMENTS", 2)
    path = tmp_path / "out"
    fill(path, form, *([record(name, code="no_face")] for name in "abc"))
    file = ResumableFile(path, form, run_settings())
    file.write([record("a")])
    assert [code for _, code in rows(path, form)] == ["no_face"] * 3
    file.write([record("b")])
    assert [code for _, code in rows(path, form)] == ["ok", "ok", "no_face"]
    file.write([record("d")])
    file.write([record("c")])
    file.close()
    assert rows(path, form) == [(f"{name}#0", "ok") for name in "abcd"]


def test_two_runs_do_not_write_one_file(tmp_path, form):
    path = tmp_path / "out"
    first = ResumableFile(path, form, run_settings())
    first.write([record("a")])
    before = path.read_bytes()
    (tmp_path / "other").symlink_to(path)
    for name in (path, tmp_path / "other"):
        for overwrite in (False, True):
            busy = f"^{re.escape(str(name))} is being written by another run"
            with pytest.raises(ConfigError, match=busy):
                ResumableFile(name, form, run_settings(), overwrite=overwrite)
    assert path.read_bytes() == before
    first.close()
    assert fill(path, form) == {"a"}


def test_a_file_that_two_older_runs_wrote_gets_each_face_once(tmp_path, form):
    path, other = tmp_path / "out", tmp_path / "other"
    fill(path, form, [record("a")], [record("b")])
    fill(other, form, [record("a")])
    line = other.read_bytes().splitlines(keepends=True)[-1]
    path.write_bytes(path.read_bytes() + line)
    beside(path).unlink()
    assert fill(path, form, [record("a")], [record("c")]) == {"b"}
    assert rows(path, form) == [("a#0", "ok"), ("b#0", "ok"), ("c#0", "ok")]


def test_scores_of_other_settings_are_refused_and_named(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    before = path.read_bytes(), beside(path).read_bytes()
    described = {**DESCRIBED, "policy": "exit 2"}
    with pytest.raises(ConfigError, match=r"policy: full depth there, exit 2 now.*--overwrite"):
        fill(path, form, settings=run_settings(described))
    for changes in ({"fingerprint": "sha256:cd"}, {"fusion": "F"}, {"calibration": "sigmoid:2"}):
        with pytest.raises(ConfigError, match="other settings"):
            fill(path, form, settings=run_settings(**changes))
    assert (path.read_bytes(), beside(path).read_bytes()) == before
    assert fill(path, form, settings=run_settings(described), overwrite=True) == set()
    assert path.read_bytes() == b""


def test_without_a_score_other_settings_are_welcome(tmp_path, form):
    """What failed without a detector is tried again with one."""
    path = tmp_path / "out"
    fill(path, form, [record("a", code="no_face", fingerprint="sha256:old")])
    other = run_settings({**DESCRIBED, "faces from": "detector"}, faces=frozenset({"detector"}))
    assert fill(path, form, [record("a")], settings=other) == set()
    assert rows(path, form) == [("a#0", "ok")]
    with pytest.raises(ConfigError, match="faces from: detector there, crops now"):
        fill(path, form)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 2, "reasons": frozenset({"fixed", "full"})}, "exit: 1 there, 2 now"),
        ({"gate": 45}, "gate: None there, 45 now"),
        ({"fusion": "F"}, "fusion: FW there, F now"),
        ({"fingerprint": "sha256:cd"}, "model: sha256:ab there, sha256:cd now"),
        ({"faces": frozenset({"detector"})}, "faces from: crops there, detector now"),
        ({"depth": None, "reasons": frozenset({"gate"})}, "reason for stopping: full there"),
    ],
)
def test_a_file_of_an_older_version_is_judged_by_its_rows(tmp_path, form, changes, message):
    path = tmp_path / "out"
    fill(path, form, [record("a")], [record("b")])
    beside(path).unlink()
    with pytest.raises(ConfigError, match=message):
        fill(path, form, settings=run_settings(**changes))
    assert fill(path, form, [record("b")]) == {"a"}
    assert fill(path, form) == {"a", "b"}


def test_a_file_without_settings_beside_it_is_warned_of(tmp_path, form, caplog):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    with caplog.at_level(logging.WARNING, logger="edge_fiqa.scoring"):
        fill(path, form)
        assert caplog.messages == []
        beside(path).unlink()
        fill(path, form)
    assert caplog.messages == [
        f"{path} has no out.run.json beside it: settings are judged by its rows alone, and pictures "
        "that changed since are not noticed"
    ]


def test_a_model_with_another_number_of_exits_does_not_share_columns(tmp_path):
    path = tmp_path / "out"
    fill(path, "csv", [record("a", code="no_face")])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="other columns"):
        fill(path, "csv", [record("b", exits=2)])
    assert path.read_bytes() == before


def test_damaged_settings_are_an_error_that_says_what_to_do(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    beside(path).write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"out\.run\.json is damaged.*delete it"):
        fill(path, form)


@pytest.mark.parametrize(
    "text", ["hello\n", "1,2,3\n4,5,6\n", '{"a": 1}\n', "my only notes, and no line end"]
)
def test_a_foreign_file_is_left_alone(tmp_path, form, text):
    path = tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is not a .* file of edge_fiqa.*--overwrite"):
        fill(path, form)
    assert path.read_text(encoding="utf-8") == text


def test_a_foreign_file_is_not_overwritten_either(tmp_path, form):
    path = tmp_path / "out"
    path.write_text("my only notes\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        fill(path, form, overwrite=True)
    assert str(refusal.value) == (
        f"{path} is not a record file of edge_fiqa: it is not overwritten; choose another --output or "
        "remove it"
    )
    assert path.read_text(encoding="utf-8") == "my only notes\n"


def test_overwriting_a_file_that_has_no_settings_beside_it(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    beside(path).unlink()
    assert fill(path, form, [record("b")], overwrite=True) == set()
    assert rows(path, form) == [("b#0", "ok")]


def test_what_stands_beside_a_file_without_rows_does_not_count(tmp_path, form):
    path = tmp_path / "out"
    path.touch()
    beside(path).write_bytes(b"{")
    assert fill(path, form, [record("a")]) == set()
    assert fill(path, form) == {"a"}


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")], [record("b")])
    data = path.read_bytes().replace(b"edge-fiqa/1", b'"x', 1)
    path.write_bytes(path.read_bytes()[: len(data) // 2] + b'"x"y\n' + data)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is not a"):
        fill(path, form)
    assert path.read_bytes() == before


def test_what_cannot_be_written(tmp_path, form):
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "absent" / "out", "No such file or directory"),
    ):
        with pytest.raises(ConfigError, match=cannot_be_written(path, why)):
            fill(path, form)
    assert list(tmp_path.iterdir()) == []


def test_ndjson_lines_are_records(tmp_path):
    fill(tmp_path / "out", "ndjson", [record("a"), record("a", 1)])
    lines = (tmp_path / "out").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Record).id for line in lines] == ["a#0", "a#1"]
