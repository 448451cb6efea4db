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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.container_checks import (
    JPEG,
    PNG,
    PngHeader,
    check_jpeg,
    check_png,
    check_size,
    refused,
    too_large,
)
from edge_fiqa.faces.formats import is_avif, is_heif
from edge_fiqa.faces.tones import eight_bits, over_black, to_srgb
from edge_fiqa.types import Array, Box, Bytes, Point

MAX_PIXELS = 250_000_000
"""Larger images are refused before they are decoded; cameras make up to 200 megapixels."""
WHOLE_PIXELS = 64_000_000
"""Larger pictures are reduced by 2, 4 or 8: while they are decoded where the format can, else after."""
MAX_BYTES = 1_000_000_000
"""Larger files are refused before they are read: room for 8-bit RGBA without compression."""

REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
           8: cv2.IMREAD_REDUCED_COLOR_8}  # fmt: skip
ANY_DEPTH = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
OTHER_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What Pillow may decode. Not EPS: reading one runs Ghostscript on it, whatever the file's name."""
TIFF_KIND, TIFF_BITS, TIFF_SAMPLES, DNG_VERSION = 254, 258, 277, 50706

LOOKS_ESCAPED = re.compile(r"\\(?=ud[89a-f][0-9a-f]{2}|x5c)")


@dataclass(frozen=True)
class Picture:
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


def decode(path: Path) -> Bytes:
    """(H, W, 3) uint8 RGB of an image file. Raises ImageRefused("unreadable") with the reason."""
    return read_picture(path).pixels


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """As `picture_of`, of a file. Raises ImageRefused("unreadable") with the reason."""
    name = printable(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise refused(name, "it is a folder")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise refused(name, "it is not a regular file; copy it to one")
        if status.st_size > MAX_BYTES:
            raise refused(name, f"the file is above {MAX_BYTES // 1_000_000} MB; reduce it first")
        data = path.read_bytes()
    except OSError as exc:
        raise refused(name, exc.strerror or type(exc).__name__) from exc
    except ValueError as exc:  # a NUL in the name
        raise refused(repr(name), str(exc)) from exc
    return picture_of(data, name, max_pixels)


def decode_bytes(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Bytes:
    """(H, W, 3) uint8 RGB of an encoded image, as `picture_of`."""
    return picture_of(data, name, max_pixels).pixels


def picture_of(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """An encoded image; `name` goes into messages.

    EXIF rotation is applied, 16-bit values are scaled to 8, transparency is laid over black,
    animations give their first frame, colours become sRGB. Raises ImageRefused("unreadable").
    """
    if not data:
        raise refused(name, "the file is empty")
    if data.startswith(JPEG):
        header = check_jpeg(data, name, max_pixels)
        if header.components != 4:  # CMYK
            reduced = _reduction(header.width, header.height)
            image = _opencv(data, REDUCED[reduced], name)
            return _with_colours(data, _rgb(image), reduced)
    elif data.startswith(PNG):
        png = check_png(data, name, max_pixels)
        if not png.is_transparent and not png.has_palette:
            return _png(data, png, name)
        if png.depth == 16:
            return _transparent_png(data, png, name)
    return _with_pillow(data, name, max_pixels)


def _png(data: bytes, header: PngHeader, name: str) -> Picture:
    reduced = _reduction(header.width, header.height)
    warnings: tuple[str, ...] = ()
    if header.depth == 16:
        image, warnings = eight_bits(_opencv(data, ANY_DEPTH, name))
    else:
        image = _opencv(data, cv2.IMREAD_COLOR, name)
    return _with_colours(data, _rgb(_smaller(image, reduced)), reduced, warnings)


def _transparent_png(data: bytes, header: PngHeader, name: str) -> Picture:
    """With 16 bits: Pillow would keep the upper 8 of them, without a word."""
    values = _opencv(data, cv2.IMREAD_UNCHANGED, name)
    if values.ndim != 3 or values.shape[2] != 4:  # one transparent colour
        return _png(data, header, name)
    alpha = (values[..., 3] >> 8).astype(np.uint8)
    image, warnings = eight_bits(values[..., :3])
    image, hidden = over_black(image, alpha)
    reduced = _reduction(header.width, header.height)
    return _with_colours(data, _rgb(_smaller(image, reduced)), reduced, (*warnings, *hidden))


def _with_colours(
    data: bytes, pixels: Bytes, reduced: int, warnings: tuple[str, ...] = ()
) -> Picture:
    """Converted to sRGB where the file says that its colours are others."""
    head = data[: 1 << 20]
    if not any(mark in head for mark in (b"ICC_PROFILE\0", b"iCCP", b"gAMA")):
        return Picture(pixels, reduced, warnings)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as file:
            information = dict(file.info)
    except Exception:  # Pillow raises what its decoders raise; OpenCV has read the picture
        return Picture(pixels, reduced, (*warnings, "its colour profile cannot be read"))
    pixels, said = to_srgb(pixels, information)
    return Picture(pixels, reduced, (*warnings, *said))


def _reduction(width: int, height: int) -> int:
    return next((r for r in (1, 2, 4) if width * height <= WHOLE_PIXELS * r * r), 8)


def _smaller(image: Bytes, reduced: int) -> Bytes:
    if reduced == 1:
        return image
    size = [-(-side // reduced) for side in image.shape[1::-1]]
    smaller: Bytes = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def _rgb(image: Bytes) -> Bytes:
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _opencv(data: bytes, flags: int, name: str) -> Any:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise refused(name, "it is damaged; copy it again")
    return image


def _with_pillow(data: bytes, name: str, max_pixels: int) -> Picture:
    """The uncommon kinds: CMYK, palettes, transparency, GIF, WebP, BMP, TIFF, JPEG 2000, AVIF, HEIC."""
    try:
        image = _opened(data, name)
        check_size(*image.size, name, max_pixels)
        _check_whole(image, data, name)
        reduced = _reduction(*image.size)
        image.draft(None, (image.width // reduced, image.height // reduced))  # a JPEG's
        drafted = reduced if image.format in ("JPEG", "MPO") else 1
        if image.format == "TIFF" and _deep_colours(image):
            return _deep_tiff(data, image, name)
        image.load()
        if drafted != reduced:
            image = image.reduce(reduced)
        return _as_rgb(ImageOps.exif_transpose(image), reduced, name)
    except ImageRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # Pillow's own limit, for frames that are larger than the picture's header says.
        pixels = re.search(r"\d+", str(exc))
        count = int(pixels[0]) if pixels else max_pixels + 1
        raise too_large("it is", count, name, max_pixels) from exc
    except UnidentifiedImageError as exc:
        raise refused(
            name, "it is not an image that can be read; convert it to JPEG or PNG"
        ) from exc
    except Exception as exc:  # Pillow raises what its many decoders raise
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise refused(name, f"it is damaged ({reason}); copy it again") from exc


def _opened(data: bytes, name: str) -> Image.Image:
    """By Pillow's plugins themselves: `Image.open` has a limit on pixels of its own, below ours."""
    if is_heif(data):
        try:
            from pillow_heif import HeifImageFile
        except ImportError as exc:
            raise refused(
                name, "HEIC needs another library; run pip install 'edge-fiqa[heic]'"
            ) from exc
        heic: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
        return heic
    if is_avif(data) and not features.check("avif"):
        raise refused(name, "AVIF needs Pillow 11.3 or later; run pip install -U pillow")
    Image.init()
    for form in OTHER_FORMATS:
        factory, accept = Image.OPEN.get(form, (None, None))
        if factory is not None and accept is not None and accept(data[:16]):
            return factory(io.BytesIO(data), "")
    raise UnidentifiedImageError


def _check_whole(image: Image.Image, data: bytes, name: str) -> None:
    """Raises ImageRefused for a JPEG 2000 cut short, and for raw files, which show a preview."""
    if image.format == "JPEG2000" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\x90"):
        raise refused(name, "the JPEG 2000 is cut short; copy it again")
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and (DNG_VERSION in tags or tags.get(TIFF_KIND, 0) & 1):
        raise refused(name, "it is raw data of a camera; convert it to JPEG or PNG")


def _deep_colours(image: Image.Image) -> bool:
    """A TIFF with colours of 16 bits, of which Pillow would keep the upper 8."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(TIFF_SAMPLES, 1) >= 3 and max(tags.get(TIFF_BITS, (8,))) == 16


def _deep_tiff(data: bytes, image: Image.Image, name: str) -> Picture:
    reduced = _reduction(*image.size)
    pixels, warnings = eight_bits(_opencv(data, ANY_DEPTH, name))
    pixels, said = to_srgb(_rgb(_smaller(pixels, reduced)), image.info)
    return Picture(pixels, reduced, (*warnings, *said))


def _as_rgb(image: Image.Image, reduced: int, name: str) -> Picture:
    if image.mode.startswith(("I", "F")):
        grey, said = _known_white(np.asarray(image), name)
        return Picture(np.repeat(grey[..., None], 3, axis=2), reduced, said)
    warnings: tuple[str, ...] = ()
    information = dict(image.info)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in information:
        values = np.asarray(image.convert("RGBA"))
        pixels, warnings = over_black(np.ascontiguousarray(values[..., :3]), values[..., 3])
    elif image.mode == "CMYK" and "icc_profile" in information:
        return _cmyk(image, information["icc_profile"], reduced)
    else:
        pixels = np.array(image.convert("RGB"))
    pixels, said = to_srgb(pixels, information)
    return Picture(pixels, reduced, (*warnings, *said))


def _cmyk(image: Image.Image, profile: bytes, reduced: int) -> Picture:
    try:
        converted = ImageCms.profileToProfile(
            image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert converted is not None  # it is not done in place
        return Picture(np.array(converted), reduced)
    except ImageCms.PyCMSError as exc:
        said = f"its colour profile cannot be used ({exc}); converted without"
        return Picture(np.array(image.convert("RGB")), reduced, (said,))


def _known_white(grey: npt.NDArray[np.generic], name: str) -> tuple[Bytes, tuple[str, ...]]:
    """(H, W) of 0..65535 -> 0..255. Values without a known white are refused."""
    if grey.dtype.kind not in "iu" or grey.min() < 0 or grey.max() > 65535:
        raise refused(
            name, f"its {grey.dtype} values have no known white; save it with 8 or 16 bits"
        )
    return eight_bits(grey.astype(np.uint16))
