"""`edge-fiqa score` into files, pipes and terminals: what is there already, and what cannot be."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from edge_fiqa.build.builder import synthetic_faces
from edge_fiqa.cli import main
from edge_fiqa.faces import images, sources


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, face in enumerate(synthetic_faces(3)):
        Image.fromarray(face).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def score(bundle, capfd):
    """Run `edge-fiqa score` in this process -> (status, stdout, stderr)."""

    def run(*arguments):
        command = ["score", "--bundle", str(bundle.folder), "--backend", "ov", "--jobs", "1"]
        status = main([*command, *map(str, arguments)])
        return (status, *capfd.readouterr())

    return run


def records(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_repaired_file_gets_its_score_in_its_place(score, photos, tmp_path):
    out = tmp_path / "out.ndjson"
    whole = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes(whole[:500])
    status, _, err = score(photos, "--output", out)
    assert status == 1
    assert "3 faces written" in err
    assert "2 scored, 1 NA (1 unreadable)" in err
    status, _, err = score(photos, "--output", out)
    assert status == 1
    assert "1 NA (1 unreadable); 2 files were there already" in err
    (photos / "1.png").write_bytes(whole)
    assert score(photos, "--output", out)[0] == 0
    assert [r["source"] for r in records(out)] == [f"{photos}/{k}.png" for k in range(3)]
    assert all(r["quality"]["code"] == "ok" for r in records(out))
    assert score(photos, "--output", out)[0] == 0


def test_a_picture_that_changed_is_scored_again(score, photos, tmp_path):
    out = tmp_path / "out.csv"
    assert score(photos, "--output", out)[0] == 0
    before = out.read_bytes().splitlines()
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    status, _, err = score(photos, "--output", out)
    assert status == 0
    assert "1 face written" in err
    assert (
        "2 files were there already; 1 file scored again, as their picture or landmarks changed"
        in err
    )
    after = out.read_bytes().splitlines()
    assert (after[:2], after[3]) == (before[:2], before[3])
    raw = [line.split(b",")[before[0].split(b",").index(b"quality.raw")] for line in after]
    assert float(raw[2]) == pytest.approx(float(raw[3]), rel=1e-5)
    assert "3 files were there already" in score(photos, "--output", out)[2]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["--exit", "2"], [], "policy: exit 2 there, full depth now"),
        ([], ["--gate", "45"], "gate: none there, 45 now"),
        ([], ["--fusion", "F"], "fusion: FW there, F now"),
        (["--policy", "convergence"], ["--policy", "convergence", "--eps", "0.1"], "eps=0.05"),
    ],
)
def test_other_settings_are_refused(score, photos, tmp_path, first, second, message):
    out = tmp_path / "out.csv"
    assert score(photos / "0.png", "--output", out, *first)[0] == 0
    before = out.read_bytes()
    status, _, err = score(photos, "--output", out, *second)
    assert (status, out.read_bytes()) == (2, before)
    assert message in err
    assert len(err.splitlines()) == 1
    assert score(photos, "--output", out, *first)[0] == 0


def test_a_fifo_is_written_and_never_read(score, photos, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    assert score(photos, "--output", fifo, "--quiet")[0] == 0
    reader.join()
    assert len(received[0].splitlines()) == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fifo", "photos"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_that_is_full(score, photos):
    status, _, err = score(photos, "--output", "/dev/full")
    assert status == 2
    assert err == "edge-fiqa score: /dev/full cannot be written: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("form", ["table", "ndjson", "csv"])
def test_a_full_disk_and_a_closed_pipe_behind_standard_output(bundle, photos, form):
    command = [sys.executable, "-m", "edge_fiqa", "score", "--bundle", str(bundle.folder)]
    command += ["--backend", "ov", "--jobs", "1", str(photos), "--format", form]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    message = "edge-fiqa score: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, message)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("form", ["table", "ndjson", "csv"])
def test_a_terminal_that_knows_ascii_only(bundle, photos, form):
    (photos / "0.png").rename(photos / "é.png")
    command = [sys.executable, "-m", "edge_fiqa", "score", "--bundle", str(bundle.folder)]
    command += ["--backend", "ov", str(photos / "é.png"), "--format", form]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    name = r"\xe9.png" if form == "table" else "é.png"
    assert name in done.stdout.decode("utf-8")


def test_nothing_that_was_named_exists(score, photos, tmp_path):
    out = tmp_path / "out.ndjson"
    status, text, err = score(tmp_path / "absent.png", "--output", out)
    assert (status, text, out.exists()) == (2, "", False)
    assert "absent.png: No such file" in err
    status, text, _ = score(tmp_path / "absent.png", photos / "0.png", "--format", "ndjson")
    assert status == 1
    assert [json.loads(line)["quality"]["code"] for line in text.splitlines()] == [
        "unreadable",
        "ok",
    ]


def test_all_exits_and_the_last_exit_say_the_same(score, photos):
    assert score(photos / "0.png", "--all-exits", "--exit", "4")[0] == 0
    status, _, err = score(photos / "0.png", "--all-exits", "--exit", "3")
    assert status == 2
    assert "--all-exits runs to full depth, 4; --exit 3 does not" in err


def test_a_list_with_a_byte_order_mark(score, photos, monkeypatch):
    listed = f"\ufeff{photos}/0.png\r\n{photos}/1.png\r\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    status, text, _ = score("-", "--format", "ndjson")
    assert (status, len(text.splitlines())) == (0, 2)


def test_a_list_with_nuls_is_one_line(score, photos, monkeypatch):
    """Of `find -print0`. All names would be one, which Python 3.10 cannot read from a CSV again."""
    listed = f"{photos}/0.png\0{photos}/1.png\0".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    status, _, error = score("-")
    assert status == 2
    assert "has NULs (find -print0); give a name a line" in error


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_differ_in_bytes_differ_in_their_records(score, photos, tmp_path):
    data = (photos / "0.png").read_bytes()
    names = [b"a\xff.png", b"a\xfe.png", rb"a\udcff.png", rb"a\x5cudcff.png"]
    folder = tmp_path / "bytes"
    folder.mkdir()
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(data)  # noqa: PTH118
    out = tmp_path / "out.csv"
    assert score(folder, "--output", out)[0] == 0
    status, _, err = score(folder, "--output", out)
    assert status == 0
    assert "0 faces written" in err
    assert "4 files were there already" in err
    status, text, _ = score(folder, "--format", "ndjson")
    assert len({json.loads(line)["source"] for line in text.splitlines()}) == 4


@pytest.mark.parametrize("name", ["photo.jpg", "notes.csv", "notes.ndjson"])
def test_overwrite_empties_record_files_alone(score, photos, tmp_path, name):
    out = tmp_path / name
    out.write_bytes(b"precious")
    status, _, err = score(photos, "--output", out, "--overwrite")
    assert status == 2
    assert "is not a record file of edge_fiqa: it is not overwritten" in err
    assert out.read_bytes() == b"precious"
    out.write_bytes(b"schema,id,sou")  # one of ours, cut off; of another form even
    assert score(photos, "--output", out, "--overwrite")[0] == 0
    assert out.stat().st_size > 1000


def test_pictures_that_vanish_or_change_during_a_run(bundle, photos, tmp_path, monkeypatch):
    """Each has one record: of the picture as it was read, or `unreadable` with the reason."""
    out = tmp_path / "out.ndjson"
    whole, read, seen = (photos / "0.png").read_bytes(), images.read_picture, []

    def while_others_write(path, *more):
        seen.append(Path(path))
        if len(seen) == 1:
            (photos / "1.png").unlink()
            (photos / "2.png").write_bytes(whole[:300])
        return read(path, *more)

    for module in (images, sources):
        monkeypatch.setattr(module, "read_picture", while_others_write)
    command = [
        "score",
        "--bundle",
        str(bundle.folder),
        "--jobs",
        "1",
        str(photos),
        "--output",
        str(out),
    ]
    assert main(command) == 1
    assert [r["quality"]["code"] for r in records(out)] == ["ok", "unreadable", "unreadable"]
    assert "No such file" in records(out)[1]["warnings"][0]
    monkeypatch.undo()
    for name in ("1.png", "2.png"):
        (photos / name).write_bytes(whole)
    assert main(command) == 0
    assert [r["quality"]["code"] for r in records(out)] == ["ok"] * 3
