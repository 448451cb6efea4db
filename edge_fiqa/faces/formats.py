"""Which files are images: by suffix, and by their first bytes."""

from __future__ import annotations

import re

READABLE = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp",
        ".tif", ".tiff", ".gif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
        ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif",
    )
)  # fmt: skip
"""Suffixes of the formats that can be read; HEIC with the extra `heic`."""

FOREIGN = frozenset(
    (
        ".jxl", ".psd", ".tga", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw",
        ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw",
    )
)  # fmt: skip
"""Suffixes of other images, mostly raw data of cameras: each becomes a record that says so."""

SUFFIXES = READABLE | FOREIGN

SNIFFED_BYTES = 32
SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*|II\+\0|MM\0\+"
    rb"|\xff\x4f\xff\x51|\0\0\0\x0cjP  |....ftyp(avi[fs]|he[ivmx][cxms]|mif1|msf1|crx )"
    rb"|\xff\x0a|\0\0\0\x0cJXL |8BPS|FUJIFILMCCD-RAW",
    re.DOTALL,
)


def looks_like_image(start: bytes) -> bool:
    """Whether the first bytes of a file are those of an image, whatever its name."""
    return SIGNATURES.match(start) is not None


def is_avif(data: bytes) -> bool:
    return b"avif" in _brands(data) or b"avis" in _brands(data)


def is_heif(data: bytes) -> bool:
    """HEIC and its relatives: an ISO base media file with one of their brands, and not AVIF."""
    brands = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
    return bool(brands & _brands(data)) and not is_avif(data)


def _brands(data: bytes) -> set[bytes]:
    """The brands of the `ftyp` box with which such a file begins (ISO/IEC 14496-12, 4.3)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[at : at + 4] for at in (8, *range(16, end, 4))}
