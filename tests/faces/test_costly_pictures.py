"""A picture of a file that takes long to decode costs its own row, and no more than its time."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_fiqa.cli import main
from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces import costly_pictures, images
from edge_fiqa.faces.container_checks import LIGHT_PASSES, MAX_SCANS, check_jpeg
from edge_fiqa.faces.decoders import Decoders
from edge_fiqa.faces.images import picture_of, read_picture
from tests.faces.test_decoders import stand_in
from tests.faces.test_part_counts import encoded, repeated_scans

OTHER_FORMATS = {"a.webp": "WEBP", "a.bmp": "BMP", "a.tif": "TIFF", "a.gif": "GIF", "a.ppm": "PPM"}


@pytest.fixture
def decoder_that_hangs(monkeypatch):
    decoders = Decoders(1, 0.3, stand_in("time.sleep(60)"))
    monkeypatch.setattr(costly_pictures, "_decoders", decoders)
    yield
    decoders.close()


def animation():
    out = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize("name", [*OTHER_FORMATS, "animation.gif", "small.jpg", "small.png"])
def test_pixels_warnings_and_size_are_those_of_this_process(tmp_path, name):
    form = OTHER_FORMATS.get(name) or {"jpg": "JPEG", "png": "PNG"}.get(name[-3:])
    data = animation() if name == "animation.gif" else encoded(form)
    (tmp_path / name).write_bytes(data)
    here, there = picture_of(data, name), read_picture(tmp_path / name)
    assert np.array_equal(here.pixels, there.pixels)
    assert (here.warnings, here.reduced) == (there.warnings, there.reduced)
    assert bool(here.warnings) == (name == "animation.gif")


def test_a_reduced_picture_says_so_from_another_process():
    """From 64 million pixels on; a bitmap of one bit a pixel is the smallest such file."""
    out = io.BytesIO()
    Image.new("1", (8192, 8192), 1).save(out, "BMP")
    picture = costly_pictures.costly_picture(out.getvalue(), "a.bmp", 70_000_000)
    assert (picture.reduced, picture.size) == (2, (8192, 8192))
    assert picture.pixels.min() == 255


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_what_no_bound_limits_has_a_limit_of_time(decoder_that_hangs, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encoded(OTHER_FORMATS[name]))
    with pytest.raises(ImageRefused, match=r"a\.\w+: it takes longer than 0.3 s") as refusal:
        read_picture(path)
    assert refusal.value.code == "unreadable"
    assert str(refusal.value).startswith(str(path))


def test_so_has_a_jpeg_with_many_passes_over_many_pixels(decoder_that_hangs, tmp_path):
    data = repeated_scans(MAX_SCANS, 3100, 3100)
    assert check_jpeg(data, "a", 10**7).pixel_passes == MAX_SCANS * 3100**2 > LIGHT_PASSES
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageRefused, match="takes longer"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK")]
    + [("PNG", mode) for mode in ("RGB", "L", "RGBA", "P")],
)
def test_usual_pictures_wait_for_no_other_process(decoder_that_hangs, tmp_path, form, mode):
    (tmp_path / "a.x").write_bytes(encoded(form, 640, 480, mode))
    assert read_picture(tmp_path / "a.x").pixels.shape == (480, 640, 3)


def test_a_folder_with_one_such_picture_is_scored_to_its_end(decoder_that_hangs, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded("PNG", 112, 112))
    (tmp_path / "1.webp").write_bytes(encoded("WEBP", 112, 112))
    out = tmp_path / "out.csv"
    assert main(["score", str(tmp_path), "--aligned", "--output", str(out), "--quiet"]) == 1
    rows = out.read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == 4
    assert [("unreadable" in row) for row in sorted(rows)] == [False, False, True, False]


def test_a_process_that_cannot_be_started_costs_a_picture(monkeypatch):
    decoders = Decoders(1)
    decoders.close()
    monkeypatch.setattr(costly_pictures, "_decoders", decoders)
    with pytest.raises(ImageRefused, match=r"^a\.gif: decoding was stopped"):
        costly_pictures.costly_picture(animation(), "a.gif", 10_000)


def test_a_forked_process_has_decoders_of_its_own(tmp_path):
    """Two that read one channel would get each other's pixels."""
    (tmp_path / "a.gif").write_bytes(animation())
    code = f"""
import os, sys
from edge_fiqa.faces import costly_pictures
from edge_fiqa.faces.images import decode
decode({str(tmp_path / "a.gif")!r})
before = costly_pictures._decoders
if (child := os.fork()) == 0:
    forgotten = costly_pictures._decoders is None
    red = decode({str(tmp_path / "a.gif")!r})[0, 0].tolist() == [255, 0, 0]
    os._exit(0 if forgotten and red and costly_pictures._decoders is not before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("mode", ["P", "1", "LA", "PA", "I;16"])
def test_a_large_picture_of_any_mode_is_reduced(monkeypatch, mode):
    monkeypatch.setattr(images, "WHOLE_PIXELS", 1000)
    out = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(np.full((64, 64), 65535, np.uint16)).save(out, "TIFF")
    elif mode == "PA":
        palette = Image.new("P", (64, 64), 0)
        palette.putpalette([255, 255, 255])
        palette.save(out, "PNG", transparency=bytes([255]))
    else:
        Image.new(mode, (64, 64), (255, 255) if mode == "LA" else 1 if mode == "1" else 0).save(
            out, "TIFF" if mode == "LA" else "PNG"
        )
    picture = picture_of(out.getvalue(), "a")
    assert picture.reduced == 4
    assert picture.pixels.shape == (16, 16, 3)
    if mode != "P":
        assert picture.pixels.min() >= 254


def test_decoders_end_with_the_process_that_started_them(tmp_path):
    (tmp_path / "a.gif").write_bytes(animation())
    code = f"""
from edge_fiqa.faces import costly_pictures
from edge_fiqa.faces.images import decode
decode({str(tmp_path / "a.gif")!r})
print(costly_pictures._decoders._idle[0]._process.pid)
"""
    pid = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=120).strip()
    assert not Path("/proc", pid).exists()
