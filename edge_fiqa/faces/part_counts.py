"""How many parts an image file says it has, for the formats that Pillow decodes.

Pillow makes an object of every part, and OpenJPEG a decoder of every tile, before a pixel is there:
a file of 8 MB can ask for gigabytes. What is counted here is in the file's own header.
"""

from __future__ import annotations

import struct

from edge_fiqa.faces.container_checks import refused, too_many

MAX_PARTS = 262_144
"""Strips or tiles of a TIFF: one strip for each row of the largest picture that a camera makes."""
MAX_TAGS = 4096
MAX_TILES = 16_384
"""Of a JPEG 2000. The standard allows 65,535; each costs its decoder about 8 kB."""
MAX_COMMENTS = 1000
"""Of a PPM in text, where each comment makes Pillow copy the rest of a block."""

STRIP_OFFSETS, TILE_OFFSETS = 273, 324
PLAIN_PPM = (b"P1", b"P2", b"P3")
TIFF = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
SIZE_OF_IMAGE = b"\xff\x4f\xff\x51"  # SOC and SIZ (ISO/IEC 15444-1, A.4.1 and A.5.1)


def check_parts(data: bytes, name: str) -> None:
    """Raises ImageRefused for a file with more parts than any program writes."""
    if data[:4] in TIFF:
        _check_tiff(data, name)
    elif data[:2] in PLAIN_PPM and data.count(b"#") > MAX_COMMENTS:
        raise too_many("PPM", "comments", MAX_COMMENTS, name)
    elif data.startswith(SIZE_OF_IMAGE) or data[4:8] == b"jP  ":
        at = data.find(SIZE_OF_IMAGE, 0, 1 << 20)
        if at >= 0:
            _check_jpeg2000(data, at, name)


def _check_tiff(data: bytes, name: str) -> None:
    """The counts of the first directory's tags (TIFF 6.0, section 2; BigTIFF)."""
    order = TIFF[data[:4]]
    big = b"+" in data[:4]
    offset, count, entry = (
        (order + "Q", order + "Q", order + "HHQQ")
        if big
        else (order + "I", order + "H", order + "HHII")
    )
    try:
        (start,) = struct.unpack_from(offset, data, 8 if big else 4)
        (tags,) = struct.unpack_from(count, data, start)
        if tags > MAX_TAGS:
            raise too_many("TIFF", "tags", MAX_TAGS, name)
        first = start + struct.calcsize(count)
        for at in range(first, first + tags * struct.calcsize(entry), struct.calcsize(entry)):
            tag, _, parts, _ = struct.unpack_from(entry, data, at)
            if tag in (STRIP_OFFSETS, TILE_OFFSETS) and parts > MAX_PARTS:
                raise too_many("TIFF", "strips or tiles", MAX_PARTS, name)
    except struct.error as exc:
        raise refused(name, "the TIFF is cut short; copy it again") from exc


def _check_jpeg2000(data: bytes, at: int, name: str) -> None:
    """Image and tile grid: Xsiz, Ysiz, XOsiz, YOsiz, XTsiz, YTsiz, XTOsiz, YTOsiz."""
    try:
        right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", data, at + 8)
    except struct.error as exc:
        raise refused(name, "the JPEG 2000 is cut short; copy it again") from exc
    if width < 1 or height < 1:
        raise refused(name, "the JPEG 2000 has tiles without pixels; copy it again")
    if -(-(right - left) // width) * -(-(bottom - top) // height) > MAX_TILES:
        raise too_many("JPEG 2000", "tiles", MAX_TILES, name)
