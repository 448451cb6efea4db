"""Image files to pixels: the one place where a file's colour order is decided. Always RGB after it.

OpenCV decodes. What it would get silently wrong is caught around it: files cut short (it fills them
with grey), CMYK, transparency, and images so large that decoding them is an attack. Not caught: a
JPEG that lacks bytes in its middle but has its end.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.types import Bytes

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded."""
MAX_BYTES = 8 * MAX_PIXELS
"""Larger files are refused before they are read: room for 16-bit RGBA without compression."""

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
AFTER_SCAN = re.compile(
    rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL
)  # in a scan: FF00 and restarts only
PALETTE, GREY_ALPHA, RGB_ALPHA = 3, 4, 6  # PNG colour types
OTHER_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
"""What Pillow may decode. Not EPS: reading one runs Ghostscript on it, whatever the file's name."""

LOOKS_ESCAPED = re.compile(r"\\(?=ud[89a-f][0-9a-f]{2}|x5c)")


def printable(path: Path) -> str:
    """The path as UTF-8 text; two paths never have the same.

    Bytes of a name that are not UTF-8 are written \\udcXX. A backslash that could be taken for the
    beginning of that, or of its own escape, is written \\x5c; all others stay.
    """
    name = str(path)
    if sys.getfilesystemencoding() != "utf-8":  # a name is the same in every locale
        name = os.fsencode(path).decode("utf-8", "surrogateescape")
    name = LOOKS_ESCAPED.sub(r"\\x5c", name)
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def decode(path: Path) -> Bytes:
    """(H, W, 3) uint8 RGB of an image file. Raises ImageRefused("unreadable") with the reason."""
    name = printable(path)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise _refused(name, "it is a folder")
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may never end
            raise _refused(name, "it is not a regular file; copy it to one")
        if found.st_size > MAX_BYTES:
            raise _refused(name, f"the file is above {MAX_BYTES // 1_000_000} MB; reduce it first")
        data = path.read_bytes()
    except OSError as exc:
        raise _refused(name, exc.strerror or type(exc).__name__) from exc
    except ValueError as exc:  # a NUL in the name
        raise _refused(repr(name), str(exc)) from exc
    return decode_bytes(data, name)


def decode_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Bytes:
    """(H, W, 3) uint8 RGB of an encoded image; `name` goes into messages.

    EXIF rotation is applied, 16-bit values are scaled to 8, transparency is laid over black,
    animations give their first frame. Raises ImageRefused("unreadable").
    """
    if not data:
        raise _refused(name, "the file is empty")
    if data.startswith(JPEG):
        if _check_jpeg(data, name, max_pixels) == 4:  # CMYK
            return _with_pillow(data, name, max_pixels)
    elif data.startswith(PNG):
        if _check_png(data, name, max_pixels):
            return _with_pillow(data, name, max_pixels)
    else:
        return _with_pillow(data, name, max_pixels)
    image = _opencv(data)
    if image is None:
        raise _refused(name, "it is damaged; copy it again")
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _opencv(data: bytes) -> Bytes | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _check_jpeg(data: bytes, name: str, max_pixels: int) -> int:
    """Number of colour components, once the size is allowed and the picture is there to its end.

    Walks the markers of the first picture (ITU-T T.81 B.1.1), so that neither a thumbnail before it
    nor whatever a camera appends to it (a film, a depth map) is taken for its end.
    """
    at, components = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == END_OF_IMAGE:
            break
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in START_OF_FRAME and at + 10 <= len(data):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            _check_size(width, height, name, max_pixels)
            components = data[at + 9]
        has_body = marker != 0x01 and not 0xD0 <= marker <= 0xD8
        at += 2 + (int.from_bytes(data[at + 2 : at + 4], "big") if has_body else 0)
        if marker == START_OF_SCAN:
            found = AFTER_SCAN.search(data, at)
            at = found.start() if found else len(data)
    if not components:
        raise _refused(name, "the JPEG has no readable header; copy it again")
    if data[at : at + 2] != b"\xff\xd9":
        raise _refused(name, "the JPEG is cut short or damaged; copy it again")
    return components


def _check_png(data: bytes, name: str, max_pixels: int) -> bool:
    """Whether it has a palette or transparency, once its size is allowed and its chunks are whole.

    Critical chunks (capital first letter) must match their CRC, as the PNG specification asks (5.4).
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise _refused(name, "the PNG has no readable header; copy it again")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    _check_size(width, height, name, max_pixels)
    special = data[25] in (PALETTE, GREY_ALPHA, RGB_ALPHA)
    view, at = memoryview(data), len(PNG)
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        crc = int.from_bytes(data[end : end + 4], "big")
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end]) != crc:
            raise _refused(name, "the PNG is damaged (a checksum differs); copy it again")
        special |= kind == b"tRNS"
        if kind == b"IEND":
            return special
        at = end + 4
    raise _refused(name, "the PNG is cut short; copy it again")


def _with_pillow(data: bytes, name: str, max_pixels: int) -> Bytes:
    """The uncommon kinds: CMYK, palettes, transparency, GIF, WebP, BMP, TIFF, JPEG 2000."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as exc:
        raise _refused(name, "this kind of image needs Pillow; run pip install pillow") from exc
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=OTHER_FORMATS)
        _check_size(*image.size, name, max_pixels)
        if image.format == "JPEG2000" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\x90"):
            raise _refused(name, "the JPEG 2000 is cut short; copy it again")
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            return _grey_to_rgb(np.asarray(image), name)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image)
        return np.ascontiguousarray(image.convert("RGB"))
    except ImageRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # Pillow's own limit, above ours; its message starts with the number of pixels.
        pixels = re.search(r"\d+", str(exc))
        size = f"{int(pixels[0]) / 1e6:.0f} megapixels," if pixels else "it is"
        raise _too_large(size, name, max_pixels) from exc
    except UnidentifiedImageError as exc:
        raise _refused(
            name, "it is not an image that can be read; convert it to JPEG or PNG"
        ) from exc
    except Exception as exc:  # Pillow raises what its many decoders raise
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise _refused(name, f"it is damaged ({reason}); copy it again") from exc


def _grey_to_rgb(grey: npt.NDArray[np.generic], name: str) -> Bytes:
    """(H, W) of 0..65535 -> (H, W, 3) of 0..255. Values without a known white are refused."""
    if grey.dtype.kind not in "iu" or grey.min() < 0 or grey.max() > 65535:
        raise _refused(
            name, f"its {grey.dtype} values have no known white; save it with 8 or 16 bits"
        )
    eight = np.rint(grey.astype(np.float32) / 257).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(eight[..., None], 3, axis=2))


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise _refused(name, f"its header says {width}x{height} pixels")
    if width * height > max_pixels:
        raise _too_large(
            f"{width}x{height} is {width * height / 1e6:.0f} megapixels,", name, max_pixels
        )


def _too_large(what: str, name: str, max_pixels: int) -> ImageRefused:
    limit = f"{max_pixels / 1e6:g}"
    return _refused(name, f"{what} above the limit of {limit} megapixels; reduce it first")


def _refused(name: str, reason: str) -> ImageRefused:
    return ImageRefused("unreadable", f"{name}: {reason}")
