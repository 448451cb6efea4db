"""Image files to pixels: the one place where a file's colour order is decided. Always RGB after it.

OpenCV decodes JPEG and PNG, Pillow the others. What they would get silently wrong is caught around
them: files cut short, CMYK, transparency, more than 8 bits, colour profiles, previews in raw files,
and images so large that decoding them is an attack. Large JPEGs are decoded at a reduced size.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.container_checks import (
    LIGHT_BYTES,
    LIGHT_PASSES,
    JpegHeader,
    PngHeader,
    checked_header,
    refused,
)
from edge_fiqa.faces.tones import (
    HEADER_BYTES,
    eight_bits,
    opaque_eight_bits,
    to_srgb,
    transfer_warnings,
)
from edge_fiqa.types import Array, Box, Bytes, Point

MAX_PIXELS = 250_000_000
"""Larger images are refused before they are decoded; cameras make up to 200 megapixels."""
WHOLE_PIXELS = 64_000_000
"""Larger pictures are reduced by 2, 4 or 8: while they are decoded where the format can, else after."""
MAX_BYTES = 1_000_000_000
"""Larger files are refused before they are read: room for 8-bit RGBA without compression."""

REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
           8: cv2.IMREAD_REDUCED_COLOR_8}  # fmt: skip
ORIENTATION = 0x0112  # the EXIF tag
ANY_DEPTH = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR

ESCAPED = re.compile(r"\\(?:x5c|u(d[89a-f][0-9a-f]{2}))")
LOOKS_ESCAPED = re.compile(r"\\(?=ud[89a-f][0-9a-f]{2}|x5c)")


@dataclass(frozen=True)
class DecodedImage:
    """pixels: (H, W, 3) uint8 RGB, upright. reduced: pixels of the file per pixel, along each side.

    warnings: what was not taken as it stands in the file.
    """

    pixels: Bytes
    reduced: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the file, to `reduced` pixels."""
        height, width = self.pixels.shape[:2]
        return width * self.reduced, height * self.reduced

    def inside(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Points (..., 2) in pixels of the file -> in `pixels`. Centres of pixels are whole numbers."""
        return (np.asarray(points, np.float64) + 0.5) / self.reduced - 0.5

    def outside(self, points: Array) -> tuple[Point, ...]:
        """Points (N, 2) in `pixels` -> in pixels of the file."""
        return tuple(
            ((float(x) + 0.5) * self.reduced - 0.5, (float(y) + 0.5) * self.reduced - 0.5)
            for x, y in points
        )

    def box_outside(self, box: Box) -> Box:
        x, y, width, height = (side * self.reduced for side in box)
        return x, y, width, height


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


def path_of(name: str) -> Path:
    """The path that `printable` made this of."""
    text = ESCAPED.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "\\", name)
    if sys.getfilesystemencoding() != "utf-8":
        text = os.fsdecode(text.encode("utf-8", "surrogateescape"))
    return Path(text)


def read_picture_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """As `read_picture`, of a file's bytes that came from elsewhere, such as an archive."""
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return _within_time(data, name, max_pixels)


def decode(path: Path | str) -> Bytes:
    """(H, W, 3) uint8 RGB of an image file. Raises ImageRefused("unreadable") with the reason."""
    return read_picture(path).pixels


def read_picture(path: Path | str, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """As `picture_of`, of a file. Raises ImageRefused("unreadable") with the reason."""
    path = Path(path)
    name = printable(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise refused(name, "it is a folder")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise refused(name, "it is not a regular file; copy it to one")
        if status.st_size > MAX_BYTES:
            raise _too_large(name)
        data = path.read_bytes()
    except OSError as exc:
        raise refused(name, exc.strerror or type(exc).__name__) from exc
    except ValueError as exc:  # a NUL in the name
        raise refused(repr(name), str(exc)) from exc
    return _within_time(data, name, max_pixels)


def _too_large(name: str) -> ImageRefused:
    return refused(name, f"the file is above {MAX_BYTES // 1_000_000} MB; reduce it first")


def _within_time(data: bytes, name: str, max_pixels: int) -> DecodedImage:
    header = checked_header(data, name, max_pixels) if len(data) <= LIGHT_BYTES else None
    if header is not None and header.pixel_passes <= LIGHT_PASSES:
        return _picture_of(data, name, max_pixels, header)
    from edge_fiqa.faces.costly_pictures import costly_picture

    return costly_picture(data, name, max_pixels)


def decode_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Bytes:
    """(H, W, 3) uint8 RGB of an encoded image, as `picture_of`."""
    return picture_of(data, name, max_pixels).pixels


def picture_of(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """An encoded image; `name` goes into messages.

    EXIF rotation is applied, 16-bit values are scaled to 8, transparency is laid over black,
    animations give their first frame, colours become sRGB. Raises ImageRefused("unreadable").
    """
    return _picture_of(data, name, max_pixels, checked_header(data, name, max_pixels))


def _picture_of(
    data: bytes, name: str, max_pixels: int, header: JpegHeader | PngHeader | None
) -> DecodedImage:
    picture = _decoded(data, name, max_pixels, header)
    return replace(picture, warnings=(*picture.warnings, *transfer_warnings(data)))


def _decoded(
    data: bytes, name: str, max_pixels: int, header: JpegHeader | PngHeader | None
) -> DecodedImage:
    if isinstance(header, JpegHeader) and header.components != 4:  # CMYK
        reduced = reduction(header.width, header.height)
        image = opencv_decode(data, REDUCED[reduced], name)
        return _with_colours(data, to_rgb(image), reduced)
    if isinstance(header, PngHeader):
        if not header.is_transparent and not header.has_palette:
            return _png(data, header, name)
        if header.depth == 16:
            return _transparent_png(data, header, name)
    from edge_fiqa.faces.pillow_images import decode_with_pillow  # crops as JPEG need no Pillow

    return decode_with_pillow(data, name, max_pixels)


def _png(data: bytes, header: PngHeader, name: str) -> DecodedImage:
    reduced = reduction(header.width, header.height)
    warnings: tuple[str, ...] = ()
    if header.depth == 16:
        image, warnings = eight_bits(opencv_decode(data, ANY_DEPTH, name))
    else:
        image = opencv_decode(data, cv2.IMREAD_COLOR, name)
    return _with_colours(data, to_rgb(smaller_by(image, reduced)), reduced, warnings)


def _transparent_png(data: bytes, header: PngHeader, name: str) -> DecodedImage:
    """With 16 bits: Pillow would keep the upper 8 of them, without a word."""
    values = opencv_decode(data, cv2.IMREAD_UNCHANGED, name)
    if values.ndim != 3 or values.shape[2] != 4:  # one transparent colour
        return _png(data, header, name)
    image, warnings = opaque_eight_bits(values)
    reduced = reduction(header.width, header.height)
    pixels = _upright(data, to_rgb(smaller_by(image, reduced)))
    return _with_colours(data, pixels, reduced, warnings)


def _upright(data: bytes, pixels: Bytes) -> Bytes:
    """Turned as the EXIF of an encoded image says: OpenCV does not where it keeps transparency."""
    if b"eXIf" not in data:
        return pixels
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as file:
            turn = file.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises what its decoders raise; OpenCV has read the picture
        return pixels
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION] = turn
    return np.array(ImageOps.exif_transpose(image))


def _with_colours(
    data: bytes, pixels: Bytes, reduced: int, warnings: tuple[str, ...] = ()
) -> DecodedImage:
    """Converted to sRGB where the file says that its colours are others."""
    head = data[:HEADER_BYTES]
    if not any(mark in head for mark in (b"ICC_PROFILE\0", b"iCCP", b"gAMA")):
        return DecodedImage(pixels, reduced, warnings)
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as file:
            information = dict(file.info)
    except Exception:  # Pillow raises what its decoders raise; OpenCV has read the picture
        return DecodedImage(pixels, reduced, (*warnings, "its colour profile cannot be read"))
    pixels, said = to_srgb(pixels, information)
    return DecodedImage(pixels, reduced, (*warnings, *said))


def reduction(width: int, height: int) -> int:
    return next((r for r in (1, 2, 4) if width * height <= WHOLE_PIXELS * r * r), 8)


def smaller_by(image: Bytes, reduced: int) -> Bytes:
    if reduced == 1:
        return image
    size = [-(-side // reduced) for side in image.shape[1::-1]]
    smaller: Bytes = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def to_rgb(image: Bytes) -> Bytes:
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def opencv_decode(data: bytes, flags: int, name: str) -> Any:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise refused(name, "it is damaged; copy it again")
    return image
