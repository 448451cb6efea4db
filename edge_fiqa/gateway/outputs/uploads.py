"""A pushed face: untrusted bytes and query parameters -> pixels, points and a deadline."""

from __future__ import annotations

import math
from collections.abc import Callable

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.images import decode_bytes
from edge_fiqa.types import Bytes, Point

LONGEST_DEADLINE_MS = 60_000.0


Decode = Callable[[bytes, int], Bytes]
"""Encoded picture, most pixels -> (H, W, 3) uint8 RGB. Raises ImageRefused, Overloaded."""


def decode_here(body: bytes, max_pixels: int) -> Bytes:
    """In this process, where nothing ends a picture that takes too long."""
    return decode_bytes(body, "the upload", max_pixels)


def read_landmarks(text: str | None) -> list[Point] | None:
    """`x,y,x,y,...`: five points in pixels. Raises ConfigError."""
    if text is None:
        return None
    try:
        numbers = [float(number) for number in text[:1000].split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 10 or not all(abs(number) < 1e6 for number in numbers):
        raise ConfigError("landmarks must be ten numbers: x,y of both eyes, nose, mouth corners")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def read_deadline_s(text: str | None) -> float | None:
    """Milliseconds in a query parameter -> seconds. Raises ConfigError."""
    if text is None:
        return None
    try:
        deadline_ms = float(text[:100])
    except ValueError:
        deadline_ms = math.nan
    if not 0 < deadline_ms <= LONGEST_DEADLINE_MS:
        raise ConfigError(f"deadline_ms must be above 0 and at most {LONGEST_DEADLINE_MS:.0f}")
    return deadline_ms / 1000
