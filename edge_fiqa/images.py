"""Image files to pixels: the one place where a file's colour order is decided. Always RGB after it.

OpenCV decodes. What it would get silently wrong is caught around it: files cut short (it fills them
with grey), 16-bit depth, CMYK, and images so large that decoding them is an attack.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.errors import ImageRefused
from edge_fiqa.types import Bytes

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded."""

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"  # neither occurs inside a scan's data
START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def decode(path: Path) -> Bytes:
    """(H, W, 3) uint8 RGB of an image file. Raises ImageRefused("unreadable") with the reason."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise _refused(str(path), exc.strerror or type(exc).__name__) from exc
    except ValueError as exc:  # a NUL in the name
        raise _refused(repr(str(path)), str(exc)) from exc
    return decode_bytes(data, str(path))


def decode_bytes(data: bytes, name: str) -> Bytes:
    """(H, W, 3) uint8 RGB of an encoded image; `name` goes into messages.

    EXIF rotation is applied, 16-bit values are scaled to 8, transparency is laid over black,
    animations give their first frame. Raises ImageRefused("unreadable").
    """
    if not data:
        raise _refused(name, "the file is empty")
    if data.startswith(JPEG):
        height, width, components = _jpeg_frame(data, name)
        _check_size(width, height, name)
        if components == 4:
            return _with_pillow(data, name)
        if data.rfind(END_OF_IMAGE) < data.rfind(START_OF_SCAN):
            raise _refused(name, "the JPEG is cut short; copy it again")
    elif data.startswith(PNG):
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
        _check_size(width, height, name)
        if b"IEND" not in data[-4096:]:
            raise _refused(name, "the PNG is cut short; copy it again")
        if data[25:26] in (b"\x03", b"\x04", b"\x06"):  # palette or alpha
            return _with_pillow(data, name)
    else:
        return _with_pillow(data, name)
    image = _opencv(data)
    if image is None:
        raise _refused(name, "it is damaged")
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _opencv(data: bytes) -> Bytes | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _jpeg_frame(data: bytes, name: str) -> tuple[int, int, int]:
    """(height, width, components) from the frame header, without decoding."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in START_OF_FRAME:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return height, width, data[at + 9]
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a body
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise _refused(name, "the JPEG has no readable header")


def _with_pillow(data: bytes, name: str) -> Bytes:
    """The uncommon kinds: CMYK, palettes, transparency, GIF, WebP, BMP, TIFF."""
    import warnings

    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below, before decoding
            image: Image.Image = Image.open(io.BytesIO(data))
            _check_size(*image.size, name)
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = (np.asarray(image).astype(np.float64) / 257).round()
                return np.ascontiguousarray(
                    np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
                )
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                black = Image.new("RGBA", image.size, (0, 0, 0, 255))
                image = Image.alpha_composite(black, image)
            return np.ascontiguousarray(image.convert("RGB"))
    except ImageRefused:
        raise
    except Exception as exc:  # Pillow raises what its many decoders raise
        reason = "it is not an image that can be read" if "identify" in str(exc) else str(exc)
        raise _refused(name, reason) from exc


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise _refused(name, f"its header says {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise _refused(
            name,
            f"{width}x{height} is {width * height / 1e6:.0f} megapixels, above the limit of "
            f"{MAX_PIXELS // 1_000_000}; reduce it first",
        )


def _refused(name: str, reason: str) -> ImageRefused:
    return ImageRefused("unreadable", f"{name}: {reason}")
