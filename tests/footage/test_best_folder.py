"""What a video leaves on disk: for its owner alone, nothing overwritten, readable at any time."""

import os

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.crop_file import read_crop_record
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.footage.best_folder import BestFolder
from edge_fiqa.footage.best_shots import Shot, VideoPerson
from edge_fiqa.footage.contact_sheet import (
    COLUMNS,
    ROWS,
    clock_time,
    drawable,
    write_contact_sheets,
)
from edge_fiqa.footage.result import VideoResult
from tests.footage.test_best_shots import PlannedScores


def result(persons=(), complete=True, video="a.mp4"):
    return VideoResult(
        video=video,
        complete=complete,
        duration_s=9.0,
        stated_s=None,
        times="stamps",
        frames=90,
        frames_searched=90,
        unconfirmed_faces=0,
        warnings=[],
        persons=list(persons),
    )


def person(number, value=60):
    crop = np.full((112, 112, 3), value, np.uint8)
    (record,) = PlannedScores().score([FaceCrop("a.mp4/3#0", "a.mp4", crop)], [])
    record = msgspec.structs.replace(record, frame_time=0.3)
    shot = Shot(record, 3, crop, np.full((50, 40, 3), value, np.uint8))
    return VideoPerson(number, 0.1, 2.0, 12, 10, shot=shot)


def test_pictures_carry_the_record_and_are_for_their_owner_alone(tmp_path):
    folder = BestFolder(tmp_path / "new/best", result(complete=False))
    entry = folder.add(person(1))
    folder.add(VideoPerson(2, 0.5, 0.6, 3))
    folder.write_index(result(folder.persons))
    sheets = write_contact_sheets(folder.folder, result(folder.persons))
    names = {"best.json", "person-0001.jpg", "person-0001.png", "contact-sheet.jpg"}
    assert {file.name for file in folder.folder.iterdir()} == names
    for file in folder.folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    for made in (folder.folder, folder.folder.parent):
        assert made.stat().st_mode & 0o777 == 0o700
    for name in (entry.picture, entry.crop):
        assert read_crop_record(folder.folder / name) == person(1).shot.record
    assert (np.array(Image.open(folder.folder / entry.crop)) == 60).all()
    index = msgspec.json.decode((folder.folder / "best.json").read_bytes(), type=VideoResult)
    assert index.complete
    assert len(index.persons) == 2
    assert index.persons[0].time_s == 0.3
    assert index.persons[0].record.quality.scalar == 60
    assert index.persons[1].picture is None
    assert index.persons[1].record is None
    assert len(sheets) == 1


def test_a_folder_with_anything_in_it_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"note\.txt.*nothing is overwritten"):
        BestFolder(tmp_path, result())
    assert os.listdir(tmp_path) == ["note.txt"]  # noqa: PTH208
    with pytest.raises(ConfigError, match="cannot be written"):
        BestFolder(tmp_path / "note.txt", result())
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_second_run_cannot_share_the_folder(tmp_path):
    BestFolder(tmp_path / "best", result(complete=False))
    with pytest.raises(ConfigError, match=r"best\.json"):
        BestFolder(tmp_path / "best", result())


def test_many_people_take_several_sheets(tmp_path):
    folder = BestFolder(tmp_path / "best", result(complete=False))
    for number in range(1, COLUMNS * ROWS + 2):
        folder.add(person(number, value=2 * (number % 50)))
    names = [file.name for file in write_contact_sheets(folder.folder, result(folder.persons))]
    assert names == ["contact-sheet.jpg", "contact-sheet-2.jpg"]
    with (
        Image.open(folder.folder / names[0]) as first,
        Image.open(folder.folder / names[1]) as last,
    ):
        assert first.height > 5 * last.height / 2
        assert first.width > last.width


def test_nobody_gives_no_sheet(tmp_path):
    assert write_contact_sheets(tmp_path, result()) == []


def test_names_of_any_kind_are_drawn(tmp_path):
    folder = BestFolder(tmp_path / "best", result(complete=False))
    folder.add(person(1))
    assert drawable("Tür é 漢.mp4") == "Tur e ?.mp4"
    strange = result(folder.persons, video="\x1b[31m" + "ü漢" * 100 + "\n.mp4")
    assert len(write_contact_sheets(folder.folder, strange)) == 1


def test_times_are_cut_to_tenths():
    shown = [clock_time(seconds) for seconds in (0.0, 0.29, 0.3, 59.99, 83.25, 3723.0)]
    assert shown == ["0:00.0", "0:00.2", "0:00.3", "0:59.9", "1:23.2", "1:02:03.0"]
