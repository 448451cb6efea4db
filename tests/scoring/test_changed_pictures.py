"""Pictures that changed between two runs."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from edge_fiqa.faces.images import path_of, printable
from edge_fiqa.scoring.changed_pictures import changed_pictures
from edge_fiqa.scoring.resume import ResumableFile
from edge_fiqa.scoring.stored_rows import read_rows
from tests.scoring.records import record, run_settings

HOUR_NS = 3600 * 10**9


@pytest.fixture
def pictures(tmp_path):
    """Two sources, made an hour ago."""
    sources = []
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"picture")
        sources.append(str(tmp_path / name))
        modified(sources[-1], -HOUR_NS)
    return sources


@pytest.fixture(params=["ndjson", "csv"])
def form(request):
    return request.param


def modified(source, after_now_ns=0):
    time_ns = time.time_ns() + after_now_ns
    os.utime(source, ns=(time_ns, time_ns))


def run(path, form, *images):
    """One run that writes these images where they are not done -> the sources that were."""
    file = ResumableFile(path, form, run_settings())
    done = set(file.done)
    with contextlib.closing(file):
        for records in images:
            if records[0].source not in done:
                file.write(records)
    return done


def codes(path, form):
    with path.open("rb") as file:
        return [(row.source, row.code) for row in read_rows(file, form)]


def test_a_changed_picture_is_scored_again_once_in_its_place(tmp_path, form, pictures):
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)], [record(b)])
    modified(a)
    assert run(out, form, [record(a), record(a, 1)]) == {b}
    assert codes(out, form) == [(a, "ok"), (a, "ok"), (b, "ok")]
    assert run(out, form) == {a, b}


def test_a_run_that_does_not_name_it_leaves_it_for_the_next(tmp_path, form, pictures):
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)], [record(b)])
    modified(a)
    for _ in range(2):
        assert run(out, form) == {b}
    assert run(out, form, [record(a)]) == {b}
    assert run(out, form) == {a, b}


def test_of_two_that_changed_one_is_scored_again(tmp_path, form, pictures):
    """The other one's score still is of its old picture."""
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)], [record(b)])
    modified(a)
    modified(b)
    assert run(out, form, [record(a)]) == set()
    assert run(out, form) == {a}


def test_one_that_changed_and_whose_rows_were_removed_is_written(tmp_path, form, pictures):
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)])
    only_a = out.read_bytes()
    run(out, form, [record(b)])
    modified(b)
    assert run(out, form) == {a}
    out.write_bytes(only_a)  # by hand
    run(out, form, [record(b)])
    assert codes(out, form) == [(a, "ok"), (b, "ok")]


def test_a_score_of_another_picture_is_replaced_by_a_failure(tmp_path, form, pictures):
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)], [record(b)])
    modified(a)
    run(out, form, [record(a, code="no_face")])
    assert codes(out, form) == [(a, "no_face"), (b, "ok")]


def test_a_picture_that_is_gone_keeps_its_rows(tmp_path, form, pictures):
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)], [record(b)])
    os.unlink(a)  # noqa: PTH108
    before = out.read_bytes()
    assert run(out, form) == {a, b}
    assert out.read_bytes() == before


def test_each_change_belongs_to_one_run_also_in_the_future(pictures):
    a, _ = pictures
    os.utime(a, ns=(50, 50))
    windows = [(0, 40), (40, 50), (50, 60)]
    assert [changed_pictures({a}, *window) for window in windows] == [set(), {a}, set()]


def test_more_faces_than_rows(tmp_path, form, pictures):
    out, (a, b) = tmp_path / "out", pictures
    run(out, form, [record(a)], [record(b), record(b, 1)])
    file = ResumableFile(out, form, run_settings())
    assert [file.rescore_unless(a, 2), file.rescore_unless(b, 2)] == [True, False]
    assert set(file.done) == {b}
    file.write([record(a), record(a, 1)])
    file.close()
    assert [source for source, _ in codes(out, form)] == [a, a, b, b]
    assert run(out, form) == {a, b}


@pytest.mark.parametrize(
    "name", [b"a\xff.png", rb"a\udcff.png", rb"a\x5cudcff.png", rb"a\b.png", "é.png".encode()]
)
def test_a_source_names_its_file(name):
    path = Path(os.fsdecode(name))
    assert path_of(printable(path)) == path
