import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.crop_file import crop_name, read_crop_record, write_crop
from edge_fiqa.faces.images import decode
from tests.scoring.records import record


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)


def test_png_keeps_every_pixel_and_the_record(tmp_path, pixels):
    face = record("familie/Großmutter\u202e 1.jpg", 2)
    path = tmp_path / "crops/a.png"
    assert write_crop(path, pixels, face) is True
    assert np.array_equal(decode(path), pixels)
    assert read_crop_record(path) == face
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_jpeg_holds_the_record_and_about_the_pixels(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 60).astype(np.uint8)[:, None, None], (1, 80, 3))
    smooth[..., 2] = 40  # red and green rise, blue does not: the colour order shows
    path = tmp_path / "a.jpg"
    write_crop(path, smooth, record("a.png"))
    assert np.abs(decode(path).astype(int) - smooth).max() <= 12
    assert read_crop_record(path) == record("a.png")


def test_an_earlier_file_stays_as_it_is(tmp_path, pixels):
    path = tmp_path / "a.png"
    write_crop(path, pixels, record("a.jpg"))
    before = path.read_bytes()
    assert write_crop(path, pixels[::-1], record("b.jpg")) is False
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_what_is_no_crop_has_no_record(tmp_path, pixels):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    write_crop(tmp_path / "whole.png", pixels, record("a.jpg"))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:80])
    for name in ("empty.png", "text.png", "cut.png"):
        assert read_crop_record(tmp_path / name) is None


def test_what_cannot_be_written_is_an_error_that_names_it(tmp_path, pixels):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file/a.png", tmp_path / "folder.png"):
        with pytest.raises(ConfigError, match="cannot be written") as error:
            write_crop(path, pixels, record("a.jpg"))
        assert str(path) in str(error.value)
    with pytest.raises(ConfigError, match=r"a \.png or a \.jpg, not \.gif"):
        write_crop(tmp_path / "a.gif", pixels, record("a.jpg"))


def test_names_follow_the_source_and_differ_with_it():
    sources = ("a/x.jpg", "b/x.jpg", "a/x.png", "a\\x.jpg", "x.jpg")
    names = [crop_name(record(source, number)) for source in sources for number in (0, 1)]
    assert len(set(names)) == len(names)
    assert names[0].startswith("x-")
    assert names[0].endswith("-0.png")
    assert crop_name(record("a/x.jpg")) == names[0]


@pytest.mark.parametrize(
    "source", ["../..", ".hidden", "/", "a\nb", "😀字" * 300, "字" * 300, "-rf", "\udc80"]
)
def test_a_name_is_one_plain_visible_file(source, tmp_path):
    name = crop_name(record(source), ".jpg")
    assert (tmp_path / name).parent == tmp_path
    assert name[0] not in ".-"
    assert name.isprintable()
    (tmp_path / name).touch()
