"""Files of every kind become RGB, or are refused with a reason."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, features

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.images import MAX_PIXELS, DecodedImage, decode, decode_bytes, picture_of

RED = Image.new("RGB", (40, 30), (255, 0, 0))
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}}


def encoded(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def refusal(data, name="photos/a.jpg"):
    with pytest.raises(ImageRefused) as caught:
        decode_bytes(data, name)
    assert caught.value.code == "unreadable"
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_red_is_red(form):
    image = decode_bytes(encoded(RED, form), "a")
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    red, green, blue = image.reshape(-1, 3).mean(0)
    assert red > 245
    assert max(green, blue) < 10


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_other_modes(mode, colour):
    image = decode_bytes(encoded(Image.new("RGB", (9, 9), colour).convert(mode)), "a")
    assert image.shape == (9, 9, 3)
    assert np.unique(image).tolist() == [255 if colour == "white" else 0]


def test_transparency_is_laid_over_black():
    half = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    half.paste((255, 255, 255, 255), (0, 0, 4, 8))
    picture = picture_of(encoded(half), "a")
    assert (picture.pixels[:, :4] == 255).all()
    assert not picture.pixels[:, 4:].any()
    assert picture.warnings == ("50% of it is transparent; taken as black",)


@pytest.mark.parametrize(
    ("alpha", "said"), [(127, "50%"), (128, "50%"), (200, "22%"), (225, "12%"), (250, None)]
)
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_veil_over_the_whole_picture_is_said_where_it_darkens(form, alpha, said):
    veiled = Image.new("RGBA", (16, 16), (200, 200, 200, alpha))
    picture = picture_of(encoded(veiled, form, **LOSSLESS[form]), "a")
    assert np.abs(picture.pixels.astype(int) - 200 * alpha / 255).max() <= 1
    expected = (f"{said} of it is transparent; taken as black",) if said else ()
    assert picture.warnings == expected


def test_a_small_hole_is_said_and_a_soft_edge_is_not():
    alpha = np.full((100, 100), 255, np.uint8)
    alpha[:, 0] = 250
    opaque = Image.new("RGB", (100, 100), "white")
    opaque.putalpha(Image.fromarray(alpha))
    assert picture_of(encoded(opaque), "a").warnings == ()
    alpha[40:60, 40:60] = 0
    opaque.putalpha(Image.fromarray(alpha))
    assert picture_of(encoded(opaque), "a").warnings == ("4% of it is transparent; taken as black",)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparency_that_hides_everything_is_a_mistake_of_the_writer(form):
    picture = picture_of(
        encoded(Image.new("RGBA", (8, 8), (250, 0, 0, 0)), form, **LOSSLESS[form]), "a"
    )
    assert (picture.pixels == (250, 0, 0)).all()
    assert picture.warnings == ("all of it is transparent; transparency ignored",)


def test_cmyk_jpeg():
    image = decode_bytes(encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"), "a")
    red, green, blue = image.reshape(-1, 3).mean(0)
    assert red > 245
    assert max(green, blue) < 10


@pytest.mark.parametrize("form", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_is_scaled_not_clipped(form, channels):
    values = np.full((8, 8, channels) if channels == 3 else (8, 8), 40_000, np.uint16)
    image = decode_bytes(cv2.imencode(form, values)[1].tobytes(), "a")
    assert np.abs(image.astype(int) - 40_000 / 257).max() <= 1


def test_exif_rotation_is_applied():
    wide = Image.new("RGB", (48, 24), "black")
    wide.paste("white", (0, 0, 24, 24))  # left half white
    exif = Image.Exif()
    exif[0x112] = 6  # shown after a quarter turn clockwise: the left half comes out on top
    image = decode_bytes(encoded(wide, "JPEG", exif=exif), "a")
    assert image.shape == (48, 24, 3)
    assert image[4].mean() > 240
    assert image[-4].mean() < 15


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format_that_has_one(form, orientation):
    image = Image.new("RGB", (48, 24), "black")
    image.paste("white", (0, 0, 16, 8))  # one corner tells all eight apart
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encoded(image, form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = decode_bytes(data, "a")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() < 40


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (12, 12), c) for c in ("white", "black")]
    for form in ("GIF", "WEBP"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert decode_bytes(data, "a").mean() > 245


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF"])
def test_pictures_after_the_first_are_not_passed_over_in_silence(form):
    pages = [Image.new("RGB", (12, 12), c) for c in ("white", "black", "red")]
    alone = picture_of(encoded(pages[0], form), "a")
    several = picture_of(encoded(pages[0], form, save_all=True, append_images=pages[1:]), "a")
    assert alone.warnings == ()
    assert several.warnings == ("the file holds several pictures; only the first is taken",)
    np.testing.assert_allclose(several.pixels, alone.pixels, atol=2)


def test_values_for_hdr_screens_are_said():
    """A cICP chunk (PNG, third edition, 11.3.2.6): primaries, transfer, matrix, full range."""
    data = encoded(RED, "PNG")
    for transfer, expected in ((13, ()), (16, "HDR (PQ)"), (18, "HDR (HLG)"), (8, "linear")):
        chunk = b"cICP" + bytes((9, transfer, 0, 1))
        chunk = (4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        said = picture_of(data[:33] + chunk + data[33:], "a").warnings
        assert said == (expected and (f"its values are {expected}; taken as sRGB",))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_for_hdr_screens_is_said():
    data = encoded(RED, "AVIF")
    at = data.index(b"colrnclx") + 10
    assert picture_of(data, "a").warnings == ()
    changed = data[:at] + (16).to_bytes(2, "big") + data[at + 2 :]
    assert picture_of(changed, "a").warnings == ("its values are HDR (PQ); taken as sRGB",)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_file_cut_short_is_refused(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    refusal(data[: int(len(data) * share)])


def test_a_thumbnail_does_not_hide_that_the_picture_is_cut():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    thumbnail = encoded(RED, "JPEG")
    exif = b"Exif\0\0" + thumbnail
    data = encoded(Image.fromarray(noise), "JPEG", exif=exif)
    assert decode_bytes(data, "a").shape == (64, 64, 3)
    assert "cut short" in refusal(data[:-500])


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0" * 99])
def test_rubbish(data):
    refusal(data)


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    length = struct.pack(">I", 13)
    return b"\x89PNG\r\n\x1a\n" + length + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def test_a_huge_image_is_refused_before_it_is_decoded():
    assert 200_000_000 < MAX_PIXELS < 20_000 * 20_000
    assert "400 megapixels, above the limit of 250" in refusal(png_header(20_000, 20_000))
    small = bytearray(encoded(RED, "JPEG"))
    at = small.index(b"\xff\xc0")
    small[at + 5 : at + 9] = struct.pack(">HH", 20_000, 20_000)
    assert "400 megapixels" in refusal(bytes(small))
    bmp = bytearray(encoded(RED, "BMP"))
    bmp[18:26] = struct.pack("<ii", 20_000, 20_000)
    assert "400 megapixels" in refusal(bytes(bmp))


def test_a_huge_frame_in_a_small_gif_is_refused():
    screen, frame = (
        struct.pack("<HHBBB", 1, 1, 0, 0, 0),
        struct.pack("<HHHHB", 0, 0, 20_000, 20_000, 128),
    )
    gif = b"GIF89a" + screen + b"," + frame + b"\0\0\0\xff\xff\xff\x02\x02\x4c\x01\0;"
    assert "400 megapixels, above the limit of 250" in refusal(gif)


def test_files_that_cannot_be_opened(tmp_path):
    for path in (tmp_path, tmp_path / "absent.jpg", tmp_path / "nul\0.jpg"):
        with pytest.raises(ImageRefused):
            decode(path)
    (tmp_path / "größe 1.png").write_bytes(encoded(RED))
    assert decode(tmp_path / "größe 1.png").shape == (30, 40, 3)


SEEDS = [encoded(RED, form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_no_damage_raises_anything_but_a_refusal(seed, data):
    spoilt = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(spoilt)))
    try:
        image = decode_bytes(bytes(spoilt[:cut]), "a")
    except ImageRefused:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3


@pytest.mark.parametrize("seed", range(8))
def test_what_a_camera_appends_to_a_jpeg_does_not_matter(seed):
    """Motion photos carry a film behind the picture, where any marker may occur by chance."""
    film = np.random.default_rng(seed).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    whole = encoded(RED, "JPEG")
    assert decode_bytes(whole + film, "a").shape == (30, 40, 3)
    assert "cut short" in refusal(whole[:-2] + b"\0" * 64)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_refused_wherever_it_is_cut(progressive):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)
    for length in range(len(data)):
        refusal(data[:length])


def test_a_png_is_whole_up_to_its_end_chunk():
    data = encoded(RED)
    assert decode_bytes(data + b"x" * 5000, "a").shape == (30, 40, 3)
    damaged = bytearray(data)
    damaged[data.index(b"IDAT") + 8] ^= 1
    assert "checksum" in refusal(bytes(damaged))


def test_a_transparent_colour_of_a_png_is_laid_over_black():
    image = RED.copy()
    image.paste("white", (0, 0, 20, 30))
    decoded = decode_bytes(encoded(image, transparency=(255, 0, 0)), "a")
    assert (decoded[:, :20] == 255).all()
    assert not decoded[:, 20:].any()


def test_postscript_is_not_run():
    assert "not an image that can be read; convert it" in refusal(encoded(RED, "EPS"))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_colours_of_unknown_pixels_are_not_called_damaged(kind):
    data = cv2.imencode(".tiff", np.ones((8, 8, 3), kind))[1].tobytes()
    said = refusal(data)
    assert "its kind of pixels is not supported; save it with 8 or 16 bits" in said
    assert "damaged" not in said


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_without_a_known_white_are_refused(kind):
    values = (np.arange(64).reshape(8, 8) * 1_000_000).astype(kind)
    assert "no known white" in refusal(encoded(Image.fromarray(values), "TIFF"))


def test_no_size_is_too_large_to_say_our_limit():
    bmp = bytearray(encoded(RED, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    assert "3600 megapixels, above the limit of 250" in refusal(bytes(bmp))


def test_a_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageRefused, match="not a regular file"):
        decode(tmp_path / "a.jpg")


def test_permission_denied(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "a.png").write_bytes(encoded(RED))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageRefused, match="Permission denied"):
        decode(tmp_path / "a.png")


def test_a_large_jpeg_is_decoded_at_a_reduced_size():
    """In a process of its own, whose peak of memory is bounded: 225 megapixels would take 675 MB."""
    code = (
        "import resource, sys\n"
        "from edge_fiqa.faces.images import picture_of\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "picture = picture_of(sys.stdin.buffer.read(), 'a')\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(*picture.pixels.shape, picture.reduced, *picture.size, after - before)\n"
    )
    large = encoded(Image.new("L", (15_000, 15_000), 200), "JPEG")
    done = subprocess.run(
        [sys.executable, "-c", code], input=large, stdout=subprocess.PIPE, check=True
    )
    height, width, channels, reduced, *size, grown_kb = map(int, done.stdout.split())
    assert (height, width, channels, reduced, *size) == (7500, 7500, 3, 2, 15_000, 15_000)
    assert grown_kb < 300_000


def test_points_of_the_file_and_of_a_reduced_picture():
    picture = DecodedImage(np.zeros((10, 20, 3), np.uint8), reduced=4)
    assert picture.size == (80, 40)
    np.testing.assert_allclose(picture.inside([[1.5, 5.5]]), [[0, 1]])  # middle of 4 by 4 pixels
    np.testing.assert_allclose(picture.outside(np.array([[0, 1]])), [[1.5, 5.5]])
    assert picture.box_outside((1, 2, 3, 4)) == (4, 8, 12, 16)


def test_a_limit_is_told_from_a_size_just_above_it():
    with pytest.raises(
        ImageRefused, match=r"50\.1\d* megapixels, above the limit of 50 megapixels"
    ):
        decode_bytes(png_header(8160, 6144), "a", 50_000_000)


@pytest.mark.parametrize("form", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_12_bits_in_16(form, channels):
    values = np.full((8, 8, channels), 4095 // 2, np.uint16)
    values[0, 0] = 4095
    if channels == 4:
        values[..., 3] = 65535
    picture = picture_of(cv2.imencode(form, values)[1].tobytes(), "a")
    assert np.abs(picture.pixels[1:].astype(int) - 127.5).max() <= 1
    assert picture.pixels[0, 0].tolist() == [255, 255, 255]
    assert picture.warnings == (only_bits(12, 12),)


def only_bits(used, taken):
    return (
        f"16-bit picture uses only {used} bits: taken as {taken} bits, white is {2**taken - 1}; "
        "a dark scene looks the same"
    )


def ramp(white):
    """(64, 64) of 0 to `white`, as 16 bits."""
    return np.linspace(0, white, 64 * 64).round().astype(np.uint16).reshape(64, 64)


@pytest.mark.parametrize("form", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("used", "taken"), [(8, 8), (9, 10), (10, 10), (11, 12), (12, 12), (13, 14), (14, 14), (15, 16)]
)
def test_every_depth_in_16_is_taken_as_the_next_of_cameras_and_said(form, channels, used, taken):
    values = ramp(2**used - 1)
    values = values if channels == 1 else np.repeat(values[..., None], 3, axis=2)
    picture = picture_of(cv2.imencode(form, values)[1].tobytes(), "a")
    expected = values.reshape(64, 64, -1) * (255 / (2**taken - 1))
    assert np.abs(picture.pixels - expected).max() <= 1
    assert picture.warnings == (only_bits(used, taken),)


def test_a_hot_pixel_and_an_overshoot_leave_12_bits():
    hot = ramp(4095)
    hot[10, 10] = 65535
    for values in (hot, ramp(4200)):
        picture = picture_of(cv2.imencode(".png", values)[1].tobytes(), "a")
        expected = np.minimum(values * (255 / 4095), 255)[..., None]
        assert np.abs(picture.pixels - expected).max() <= 1
        assert picture.warnings == (only_bits(12, 12),)


@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_transparency_in_16_bits(form):
    values = np.full((40, 60, 4), 65535, np.uint16)
    values[:, 40:, 3] = 0
    picture = picture_of(cv2.imencode(form, values)[1].tobytes(), "a")
    assert (picture.pixels[:, :40] == 255).all()
    assert not picture.pixels[:, 40:].any()
    assert picture.warnings == ("33% of it is transparent; taken as black",)


@pytest.mark.parametrize("channels", [3, 4])
def test_rotation_of_a_png_of_16_bits(channels):
    values = np.full((24, 48, channels), 65535, np.uint16)
    values[:, 24:, :3] = 0  # right half black
    data = cv2.imencode(".png", values)[1].tobytes()
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn clockwise: the left half comes out on top
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    picture = picture_of(data[:33] + chunk + data[33:], "a")
    assert picture.pixels.shape == (48, 24, 3)
    assert (picture.pixels[:24] == 255).all()
    assert not picture.pixels[24:].any()


def test_all_16_bits_need_no_word():
    picture = picture_of(cv2.imencode(".png", ramp(65535))[1].tobytes(), "a")
    assert np.abs(picture.pixels - ramp(65535)[..., None] / 257).max() <= 1
    assert picture.warnings == ()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_of_another_profile_become_srgb(form):
    """Linear light of 0.2140 is the sRGB value 0.5 (IEC 61966-2-1)."""
    profile = linear_profile()
    data = encoded(Image.new("RGB", (16, 16), (55, 55, 55)), form, icc_profile=profile)
    picture = picture_of(data, "a")
    assert np.abs(picture.pixels.astype(int) - 128).max() <= 4
    assert "converted to sRGB" in picture.warnings[0]


def linear_profile():
    """sRGB's primaries with a straight curve: its `curv` tags emptied, which means identity."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    for entry in range(132, 132 + 12 * count, 12):
        name, offset, size = struct.unpack(">4sII", data[entry : entry + 12])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + 12] = b"curv" + bytes(8)
            data[entry + 8 : entry + 12] = struct.pack(">I", 12)
        if name == b"desc":
            text = bytes(data[offset : offset + size])
            data[offset : offset + size] = text.replace(b"\0s\0R\0G\0B", b"\0l\0i\0n\0e")
    return bytes(data)


def test_a_profile_of_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = picture_of(encoded(RED, icc_profile=profile), "a")
    assert (picture.pixels == (255, 0, 0)).all()
    assert picture.warnings == ()


def test_a_broken_profile_is_said():
    picture = picture_of(encoded(RED, icc_profile=b"rubbish" * 30), "a")
    assert (picture.pixels == (255, 0, 0)).all()
    assert "profile cannot be" in picture.warnings[0]


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_what_phones_write(form):
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif not features.check("avif"):
        pytest.skip("Pillow is older than 11.3")
    data = encoded(Image.new("RGB", (64, 48), (200, 30, 30)), form)
    image = decode_bytes(data, "a")
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - (200, 30, 30)).max() < 12


def test_heic_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    assert "pip install 'edge-fiqa[heic]'" in refusal(data)


def test_the_preview_of_a_raw_file_is_not_taken_for_the_picture():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1  # a reduced picture
    assert "raw data of a camera" in refusal(encoded(RED, "TIFF", tiffinfo=tags))
