"""Threads may share a writer: one header, and the records of one image stay together."""

import csv
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_fiqa.scoring import resume
from edge_fiqa.scoring.output import STDOUT, StreamWriter, TableWriter
from edge_fiqa.scoring.resume import ResumableFile
from tests.scoring.records import record, run_settings

THREADS, IMAGES = 4, 24
SOURCES = [f"{number:02}.png" for number in range(IMAGES)]


class SlowFile(io.BytesIO):
    """Takes a few bytes at a time, as a pipe may, and lets another thread run after each."""

    def write(self, data):
        time.sleep(0)
        return super().write(bytes(data[:64]))


def faces(source):
    return [record(source), record(source, 1)]


def write_on_threads(writer, sources):
    start = threading.Barrier(THREADS)

    def write(first):
        start.wait()
        for source in sources[first::THREADS]:
            writer.write(faces(source))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(THREADS)))


def pairs_of_ids(data, form):
    """The ids of the rows, two by two: the faces of an image."""
    if form == "csv":
        ids = [row["id"] for row in csv.DictReader(io.StringIO(data.decode("utf-8")), strict=True)]
    else:
        ids = [json.loads(line)["id"] for line in data.splitlines()]
    return sorted(zip(ids[::2], ids[1::2], strict=True))


EXPECTED = [(f"{source}#0", f"{source}#1") for source in SOURCES]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_a_stream(form):
    out = SlowFile()
    write_on_threads(StreamWriter(out, form, STDOUT), SOURCES)
    data = out.getvalue()
    assert pairs_of_ids(data, form) == EXPECTED
    assert data.count(b"quality.scalar") == (1 if form == "csv" else 0)


def test_a_table(monkeypatch):
    header_of = TableWriter._header
    monkeypatch.setattr(
        TableWriter, "_header", lambda *arguments: (time.sleep(0.001), header_of(*arguments))[1]
    )
    out = io.StringIO()
    write_on_threads(TableWriter(out), SOURCES)
    header, *lines = out.getvalue().splitlines()
    assert header.startswith("quality")
    ids = [line.split()[-1] for line in lines]
    assert sorted(zip(ids[::2], ids[1::2], strict=True)) == EXPECTED


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_a_file_of_which_half_is_scored_again(tmp_path, form, monkeypatch):
    """The file is written anew several times while other threads append to it."""
    path = tmp_path / "out"
    monkeypatch.setattr(resume, "MOST_REPLACEMENTS", 3)
    monkeypatch.setattr(resume.os, "fsync", lambda descriptor: time.sleep(0.001))
    first = ResumableFile(path, form, run_settings())
    for source in SOURCES[::2]:
        first.write([record(source, code="unreadable")])
    first.close()
    second = ResumableFile(path, form, run_settings())
    write_on_threads(second, SOURCES)
    second.close()
    assert pairs_of_ids(path.read_bytes(), form) == EXPECTED


def test_the_first_rows_of_a_csv_file(tmp_path, monkeypatch):
    path = tmp_path / "out"
    write_all = resume.write_all
    monkeypatch.setattr(
        resume, "write_all", lambda out, data: (time.sleep(0.001), write_all(out, data))
    )
    file = ResumableFile(path, "csv", run_settings())
    write_on_threads(file, SOURCES)
    file.close()
    assert path.read_bytes().count(b"quality.scalar") == 1
    assert pairs_of_ids(path.read_bytes(), "csv") == EXPECTED
