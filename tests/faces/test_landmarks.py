"""Landmark files, and what is wrong with them."""

import json
import os
from pathlib import Path

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.landmarks import read_landmarks

FACE = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]
ROW = "1,2,3,4,5,6,7,8,9,10.5"
EXPECTED = tuple(tuple(float(v) for v in point) for point in FACE)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\n"])
def test_csv(tmp_path, header):
    file = write(tmp_path / "l.csv", f"{header}a.jpg,{ROW}\n\nb.jpg,{ROW}\nb.jpg,{ROW}\n")
    found = read_landmarks(file)
    assert list(found.of(tmp_path / "a.jpg")) == [EXPECTED]
    assert len(found.of(tmp_path / "b.jpg")) == 2
    assert len(found.of(tmp_path / "c.jpg")) == 0


def test_json_with_one_face_or_several(tmp_path):
    text = json.dumps({"a.jpg": FACE, "b.jpg": [FACE, FACE], "c.jpg": []}, indent=2)
    found = read_landmarks(write(tmp_path / "l.json", text))
    assert list(found.of(tmp_path / "a.jpg")) == [EXPECTED]
    assert list(found.of(tmp_path / "b.jpg")) == [EXPECTED, EXPECTED]


def test_three_ways_to_name_an_image(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = folder / "a.jpg"
    for name in (str(image), "photos/a.jpg"):
        found = read_landmarks(write(tmp_path / "l.csv", f"{name},{ROW}\n"))
        assert len(found.of(image)) == 1
    monkeypatch.chdir(folder)
    assert len(found.of(Path("a.jpg"))) == 1
    named_absolutely = read_landmarks(write(tmp_path / "l.csv", f"{image},{ROW}\n"))
    assert len(named_absolutely.of(Path("a.jpg"))) == 1


def test_images_beside_the_files_folder(tmp_path):
    (tmp_path / "marks").mkdir()
    found = read_landmarks(write(tmp_path / "marks/l.csv", f"../photos/a.jpg,{ROW}\n"))
    assert len(found.of(tmp_path / "photos/a.jpg")) == 1
    assert len(found.of(tmp_path / "a.jpg")) == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", f"a.jpg,{ROW}\nb.jpg,1,2\n", "line 2: expected path,x1,y1"),
        ("l.csv", "a.jpg,1,2,3,4,5,6,7,8,9,ten\n", "line 1"),
        ("l.csv", f"a.jpg,{ROW},11\n", "line 1"),
        ("l.csv", "", "names no faces"),
        ("l.json", "{", "l.json"),
        ("l.json", "[]", "l.json"),
        ("l.json", '{"a.jpg": [[1, 2]]}', "'a.jpg'"),
        ("l.json", '{"a.jpg": "x"}', "'a.jpg'"),
        ("l.json", '{"a.jpg": [[1, 2], [3, 4], [5, 6], [7, 8], [9, "x"]]}', "'a.jpg'"),
    ],
)
def test_mistakes_are_located(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message) as mistake:
        read_landmarks(write(tmp_path / name, text))
    assert str(mistake.value).startswith(str(tmp_path / name))


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_landmarks(tmp_path / "absent.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(ConfigError, match="not text"):
        read_landmarks(tmp_path / "b.csv")


def test_a_dot_in_front_names_the_same_image(tmp_path):
    found = read_landmarks(write(tmp_path / "l.csv", f"./a.jpg,{ROW}\n"))
    assert len(found.of(tmp_path / "a.jpg")) == 1


def test_an_absolute_path_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    found = read_landmarks(write(tmp_path / "l.csv", f"{tmp_path}/link/a.jpg,{ROW}\n"))
    assert len(found.of(tmp_path / "link/a.jpg")) == 1


def test_an_image_and_its_file_by_other_links(tmp_path):
    (tmp_path / "real/photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    linked = tmp_path / "link/photos/a.jpg"
    named_really = write(tmp_path / "l.csv", f"{tmp_path.resolve()}/real/photos/a.jpg,{ROW}\n")
    assert len(read_landmarks(named_really).of(linked)) == 1
    beside = write(tmp_path / "link/l.csv", f"photos/a.jpg,{ROW}\n")
    assert len(read_landmarks(beside).of(tmp_path / "real/photos/a.jpg")) == 1


def test_a_link_on_another_drive(tmp_path, monkeypatch):
    """As on Windows, where no relative path leads from one drive to another."""
    (tmp_path / "real/photos").mkdir(parents=True)
    (tmp_path / "drive").symlink_to("real")
    relpath = os.path.relpath

    def on_two_drives(path, start):
        if "drive" in Path(path).parts:
            raise ValueError("path is on mount 'D:', start on mount 'C:'")
        return relpath(path, start)

    landmarks = read_landmarks(write(tmp_path / "real/l.csv", f"photos/a.jpg,{ROW}\n"))
    monkeypatch.setattr(os.path, "relpath", on_two_drives)
    assert len(landmarks.of(tmp_path / "drive/photos/a.jpg")) == 1


@pytest.mark.parametrize("header", ["PATH,x1", " Path ,x1", "\ufeffpath,x1"])
def test_a_header_however_it_is_written(tmp_path, header):
    file = write(tmp_path / "l.csv", f"{header}\na.jpg,{ROW}\n")
    assert list(read_landmarks(file).faces) == ["a.jpg"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    file = write(tmp_path / "l.csv", f"\ufeffa.jpg,{ROW}\n")
    assert list(read_landmarks(file).faces) == ["a.jpg"]


def test_an_image_called_path_is_no_second_header(tmp_path):
    file = write(tmp_path / "l.csv", f"a.jpg,{ROW}\npath,{ROW}\n")
    assert list(read_landmarks(file).faces) == ["a.jpg", "path"]


def test_json_by_its_suffix_in_capitals(tmp_path):
    file = write(tmp_path / "l.JSON", json.dumps({"a.jpg": FACE}))
    assert read_landmarks(file).faces == {"a.jpg": [EXPECTED]}


def test_names_with_line_breaks_keep_the_line_numbers_right(tmp_path):
    file = write(tmp_path / "l.csv", f'"a\nb.jpg",{ROW}\nc\u2028d.jpg,{ROW}\n')
    assert list(read_landmarks(file).faces) == ["a\nb.jpg", "c\u2028d.jpg"]
    with pytest.raises(ConfigError, match="line 3"):
        read_landmarks(write(tmp_path / "l.csv", f'"a\nb.jpg",{ROW}\nc.jpg,1\n'))


def test_a_field_beyond_the_csv_readers_limit(tmp_path):
    with pytest.raises(ConfigError, match="line 1"):
        read_landmarks(write(tmp_path / "l.csv", "a.jpg," + "1" * 200_000))


def test_a_name_that_means_two_images_of_a_run_is_refused(tmp_path, monkeypatch):
    """a.jpg of the folder one works in, and a.jpg beside the file: one would get the other's points."""
    (tmp_path / "photos").mkdir()
    file = write(tmp_path / "photos/points.csv", f"a.jpg,{ROW}\n")
    monkeypatch.chdir(tmp_path)
    landmarks = read_landmarks(file)
    assert len(landmarks.of(Path("photos/a.jpg"))) == 1
    assert len(landmarks.of(tmp_path / "photos" / "a.jpg")) == 1
    with pytest.raises(ConfigError, match=r"a.jpg may mean .*photos/a.jpg or .*absolute paths$"):
        landmarks.of(Path("a.jpg"))
