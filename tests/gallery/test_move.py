"""Moving pictures: nothing is overwritten or lost, every move is written down."""

import errno
import json
import os

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gallery import move
from edge_fiqa.gallery.move import move_pictures


def picture(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_pictures_go_to_their_persons_folder_and_can_come_back(tmp_path):
    first, second = picture(tmp_path / "ann/1.jpg", "a"), picture(tmp_path / "bob/1.jpg", "b")
    target = tmp_path / "out/dropped"
    moves = move_pictures([("ann", first), ("bob", second)], target, tmp_path / "moved.ndjson")
    assert moves.moved == 2
    assert not moves.refused
    assert (target / "ann/1.jpg").read_text() == "a"
    assert not first.exists()
    lines = [json.loads(line) for line in (tmp_path / "moved.ndjson").read_text().splitlines()]
    for line in lines:
        os.rename(line["to"], line["from"])  # noqa: PTH104
    assert (first.read_text(), second.read_text()) == ("a", "b")
    for folder in (target.parent, target, target / "ann"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "moved.ndjson").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_name_that_is_taken_is_not_overwritten(tmp_path, monkeypatch, other_disk):
    if other_disk:

        def no_link(self, target):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(type(tmp_path), "hardlink_to", no_link)
        monkeypatch.setattr(move, "write_new", copy_new)
    mine = picture(tmp_path / "dropped/ann/1.jpg", "mine")
    for text in ("b", "c"):
        source = picture(tmp_path / "ann/1.jpg", text)
        assert move_pictures([("ann", source)], tmp_path / "dropped", tmp_path / "log").moved == 1
    assert mine.read_text() == "mine"
    assert (tmp_path / "dropped/ann/1-2.jpg").read_text() == "b"
    assert (tmp_path / "dropped/ann/1-3.jpg").read_text() == "c"


def copy_new(path, data, mode):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(descriptor, data)
    os.close(descriptor)


def test_links_and_what_is_gone_stay_with_a_reason(tmp_path):
    real = picture(tmp_path / "real.jpg", "a")
    link = tmp_path / "link.jpg"
    link.symlink_to(real)
    moves = move_pictures(
        [("ann", link), ("ann", tmp_path / "gone.jpg"), ("ann", real)],
        tmp_path / "out",
        tmp_path / "log",
    )
    assert moves.moved == 1
    assert len(moves.refused) == 2
    assert "a link" in moves.refused[0]
    assert "No such file" in moves.refused[1]
    assert link.is_symlink()


def test_a_picture_that_cannot_be_removed_leaves_no_copy(tmp_path, monkeypatch):
    """Of a read-only file system, from which a picture is copied."""
    source = picture(tmp_path / "ann/1.jpg", "a")
    unlink = type(source).unlink

    def read_only(path, **more):
        if path == source:
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, **more)

    monkeypatch.setattr(type(source), "unlink", read_only)
    moves = move_pictures([("ann", source)], tmp_path / "out", tmp_path / "log")
    assert moves.moved == 0
    assert "Read-only" in moves.refused[0]
    assert source.read_text() == "a"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    there, back = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert there["from"] == back["to"] == str(source)
    assert there["to"] == back["from"]


def test_a_target_that_cannot_be_made_moves_nothing(tmp_path):
    source, file = picture(tmp_path / "ann/1.jpg", "a"), picture(tmp_path / "file", "x")
    with pytest.raises(ConfigError, match="cannot be written"):
        move_pictures([("ann", source)], file, tmp_path / "log")
    assert source.read_text() == "a"
    assert file.read_text() == "x"


def test_a_move_is_written_down_before_the_old_name_goes(tmp_path, monkeypatch):
    """Whoever stops it there has the picture twice, and a line that says so."""
    source, log = picture(tmp_path / "ann/1.jpg", "a"), tmp_path / "log"

    def stopped(path, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(source), "unlink", stopped)
        with pytest.raises(KeyboardInterrupt):
            move_pictures([("ann", source)], tmp_path / "out", log)
    line = json.loads(log.read_text())
    assert line == {"from": str(source), "to": str(tmp_path / "out/ann/1.jpg")}
    assert source.read_text() == (tmp_path / "out/ann/1.jpg").read_text() == "a"


def test_a_move_that_cannot_be_written_down_does_not_happen(tmp_path, monkeypatch):
    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    source = picture(tmp_path / "ann/1.jpg", "a")
    monkeypatch.setattr(move, "write_all", full)
    moves = move_pictures([("ann", source)], tmp_path / "out", tmp_path / "log")
    assert moves.moved == 0
    assert "No space left" in moves.refused[0]
    assert source.read_text() == "a"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_line_that_is_cut_off_does_not_spoil_the_next(tmp_path, monkeypatch):
    def once_full(file, data):
        monkeypatch.undo()
        file.write(data[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    first, second = picture(tmp_path / "ann/1.jpg", "a"), picture(tmp_path / "ann/2.jpg", "b")
    monkeypatch.setattr(move, "write_all", once_full)
    moves = move_pictures([("ann", first), ("ann", second)], tmp_path / "out", tmp_path / "log")
    assert moves.moved == 1
    (line,) = (tmp_path / "log").read_bytes().splitlines()
    assert json.loads(line)["from"] == str(second)
