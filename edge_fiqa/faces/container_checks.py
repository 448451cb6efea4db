"""JPEG and PNG files as containers: size, kind, cost, and whether the picture is there to its end.

A decoder's work grows with the parts of a file as well as with its pixels: both are bounded here,
before anything is decoded (docs/decisions/0037).
OpenCV fills what is missing with grey and says nothing. Not noticed here: a JPEG that lacks bytes in
its middle but has its end.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace

from edge_fiqa.errors import ImageRefused
from edge_fiqa.files import no_descriptors

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
AFTER_SCAN = re.compile(
    rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL
)  # in a scan: FF00 and restarts only
PALETTE, GREY_ALPHA, RGB_ALPHA = 3, 4, 6  # PNG colour types

MAX_SCANS = 64
"""Of a JPEG: a decoder passes over all pixels once for each. Encoders write up to about 20."""
MAX_SEGMENTS = 10_000
"""Of a JPEG; each may hold 65 kB."""
MAX_CHUNKS = 200_000
"""Of a PNG; the largest file allowed has 122,000, in the usual chunks of 8 kB."""


LIGHT_BYTES, LIGHT_PASSES = 64_000_000, 600_000_000
"""A JPEG or PNG of so many bytes, and pixels times passes over them, is decoded in a second or two
(docs/reliability.md): by far most pictures. What is above has a limit of time."""


def refused(name: str, reason: str) -> ImageRefused:
    return ImageRefused("unreadable", f"{name}: {no_descriptors() or reason}")


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raises ImageRefused for pictures above the limit and for those without pixels."""
    if width < 1 or height < 1:
        raise refused(name, f"its header says {width}x{height} pixels")
    if width * height > max_pixels:
        raise too_large(f"{width}x{height} is", width * height, name, max_pixels)


def too_large(subject: str, pixels: int, name: str, max_pixels: int) -> ImageRefused:
    size, limit = _different(pixels, max_pixels)
    return refused(
        name,
        f"{subject} {size} megapixels, above the limit of {limit} megapixels; "
        "reduce it first, or raise --max-megapixels",
    )


def _different(pixels: int, limit: int) -> tuple[str, str]:
    """Both in megapixels, with as many digits as it takes to tell them apart."""
    for digits in range(6):
        size = f"{pixels / 1e6:.{digits}f}"
        if float(size) > limit / 1e6:
            return size, f"{limit / 1e6:g}"
    return f"{pixels / 1e6:.6f}", f"{limit / 1e6:.6f}"


def checked_header(data: bytes, name: str, max_pixels: int) -> JpegHeader | PngHeader | None:
    """Of a JPEG or PNG that passes the checks below; None for other formats. Raises ImageRefused."""
    if not data:
        raise refused(name, "the file is empty")
    if data.startswith(JPEG):
        return check_jpeg(data, name, max_pixels)
    return check_png(data, name, max_pixels) if data.startswith(PNG) else None


@dataclass(frozen=True)
class JpegHeader:
    """components: of colour; 4 is CMYK."""

    width: int
    height: int
    components: int
    scans: int = 1

    @property
    def pixel_passes(self) -> int:
        """How often a decoder touches a pixel."""
        return self.width * self.height * max(1, self.scans)


def check_jpeg(data: bytes, name: str, max_pixels: int) -> JpegHeader:
    """The header, once the size and the scans are allowed and the picture is there to its end.

    Walks the markers of the first picture (ITU-T T.81 B.1.1), so that neither a thumbnail before it
    nor whatever a camera appends to it (a film, a depth map) is taken for its end.
    """
    at, header, scans = 2, None, 0
    for _ in range(MAX_SEGMENTS):
        marker = data[at + 1] if at + 4 <= len(data) and data[at] == 0xFF else END_OF_IMAGE
        if marker == END_OF_IMAGE:
            break
        if marker in START_OF_FRAME and at + 10 <= len(data):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            check_size(width, height, name, max_pixels)
            header = JpegHeader(width, height, data[at + 9])
        scans += marker == START_OF_SCAN
        at = _after_segment(data, at, marker)
    else:
        raise too_many("JPEG", "segments", MAX_SEGMENTS, name)
    if scans > MAX_SCANS:
        raise too_many("JPEG", "scans", MAX_SCANS, name)
    if header is None:
        raise refused(name, "the JPEG has no readable header; copy it again")
    if data[at : at + 2] != b"\xff\xd9":
        raise refused(name, "the JPEG is cut short or damaged; copy it again")
    return replace(header, scans=scans)


def _after_segment(data: bytes, at: int, marker: int) -> int:
    """Where the marker after the one at `at` is; after a scan, behind its data."""
    if marker == 0xFF:  # fill byte
        return at + 1
    if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a body
        return at + 2
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if marker != START_OF_SCAN:
        return end
    following = AFTER_SCAN.search(data, end)
    return following.start() if following else len(data)


def too_many(kind: str, parts: str, limit: int, name: str) -> ImageRefused:
    return refused(name, f"the {kind} has more than {limit} {parts}; save it again")


@dataclass(frozen=True)
class PngHeader:
    """depth: bits a channel."""

    width: int
    height: int
    depth: int
    has_palette: bool
    is_transparent: bool

    @property
    def pixel_passes(self) -> int:
        """A pixel of a PNG costs about as much as eight scans of a JPEG; one of 16 bits twice that."""
        return 8 * self.width * self.height * (2 if self.depth == 16 else 1)


def check_png(data: bytes, name: str, max_pixels: int) -> PngHeader:
    """The header, once size and number of chunks are allowed and the chunks are whole.

    Critical chunks (capital first letter) must match their CRC, as the PNG specification asks (5.4).
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise refused(name, "the PNG has no readable header; copy it again")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    check_size(width, height, name, max_pixels)
    palette, transparent = data[25] == PALETTE, data[25] in (GREY_ALPHA, RGB_ALPHA)
    view, at = memoryview(data), len(PNG)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            break
        kind, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        crc = int.from_bytes(data[end : end + 4], "big")
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end]) != crc:
            raise refused(name, "the PNG is damaged (a checksum differs); copy it again")
        transparent |= kind == b"tRNS"
        if kind == b"IEND":
            return PngHeader(width, height, data[24], palette, transparent)
        at = end + 4
    else:
        raise too_many("PNG", "chunks", MAX_CHUNKS, name)
    raise refused(name, "the PNG is cut short; copy it again")
