"""Whose pictures are where, in folders as people, Frigate and Double Take have them."""

import os

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gallery.layout import read_layout


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"text" if name.endswith(".txt") else b"\xff\xd8\xff")


def persons(layout):
    return {person.name: [path.name for path in person.paths] for person in layout.persons}


def test_a_folder_for_each_person(tmp_path):
    files(tmp_path, "ann/1.jpg", "ann/old/2.png", "bob/3.webp", ".hidden/4.jpg", "bob/notes.txt")
    (tmp_path / "empty").mkdir()
    layout = read_layout(tmp_path)
    assert persons(layout) == {"ann": ["1.jpg", "2.png"], "bob": ["3.webp"]}
    assert layout.notes == ("1 file that is no picture is passed over",)


def test_frigates_late_events_are_no_person(tmp_path):
    event = "1718200000.123456-abc123-1718200003.5-unknown-0.0.webp"
    files(tmp_path, "ann/ann-1718200000.1.webp", f"train/{event}")
    layout = read_layout(tmp_path)
    assert persons(layout) == {"ann": ["ann-1718200000.1.webp"]}
    assert "Frigate" in layout.notes[0]


def test_a_person_may_be_called_train(tmp_path):
    files(tmp_path, "train/1.jpg", "ann/2.jpg")
    assert list(persons(read_layout(tmp_path))) == ["ann", "train"]


def test_double_takes_storage(tmp_path):
    files(tmp_path, "train/ann/1.jpg", "train/bob/2.jpg", "matches/x.jpg", "latest/y.jpg")
    layout = read_layout(tmp_path)
    assert list(persons(layout)) == ["ann", "bob"]
    assert layout.folder == tmp_path / "train"
    assert "Double Take" in layout.notes[0]


def test_pictures_alone_are_one_person(tmp_path):
    files(tmp_path, "ann/1.jpg", "ann/2.jpg")
    assert persons(read_layout(tmp_path / "ann")) == {"ann": ["1.jpg", "2.jpg"]}
    files(tmp_path, "loose.jpg")
    layout = read_layout(tmp_path)
    assert list(persons(layout)) == ["ann"]
    assert "beside the persons" in layout.notes[0]


def test_what_holds_no_pictures_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no pictures"):
        read_layout(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_layout(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(ConfigError, match="Permission denied"):
        read_layout(tmp_path / "shut")
