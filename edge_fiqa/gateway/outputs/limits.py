"""Limits of one client: how often it may ask, how large a body may be, how long it may take."""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from edge_fiqa.errors import ConfigError

CLIENTS = 1024
"""Clients that are remembered. Beyond them, the one that was not seen for longest is forgotten."""


class TooLarge(ConfigError):
    """A request body above the limit."""


class WrongMedia(ConfigError):
    """A request body of a kind or encoding that is not read."""


class TooSlow(ConfigError):
    """A request body that did not arrive in time."""


class Buckets:
    """A token bucket per client: `per_s` on average, `burst` at once. Belongs to one event loop."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_s, self.burst, self.clock = per_s, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def remaining(self, client: str) -> int:
        return int(self._fill(client))

    def take(self, client: str) -> float | None:
        """None if the client may go on, else the seconds after which it may."""
        filled = self._fill(client)
        if filled < 1:
            return (1 - filled) / self.per_s
        self._buckets[client] = (filled - 1, self.clock())
        self._buckets.move_to_end(client)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return None

    def _fill(self, client: str) -> float:
        filled, then = self._buckets.get(client, (float(self.burst), self.clock()))
        return min(float(self.burst), filled + (self.clock() - then) * self.per_s)


async def read_body(
    stream: AsyncIterator[bytes], stated: str | None, limit_bytes: int, timeout_s: float
) -> bytes:
    """A request's body, refused as soon as it is known to be too large.

    stated: the Content-Length header. It is not trusted, but if it is too large, nothing is read.
    Raises TooLarge, TooSlow.
    """
    too_large = TooLarge(f"the body is above the limit of {limit_bytes / 1e6:g} MB")
    if stated is not None and stated.isdecimal() and int(stated[:20]) > limit_bytes:
        raise too_large

    async def whole() -> bytes:
        body = bytearray()
        async for chunk in stream:
            if len(body) + len(chunk) > limit_bytes:
                raise too_large
            body += chunk
        return bytes(body)

    try:
        return await asyncio.wait_for(whole(), timeout_s)
    except asyncio.TimeoutError:  # its own class before Python 3.11
        raise TooSlow(f"the body did not arrive within {timeout_s:g} s") from None


FORM = "multipart/form-data"
ENCODINGS = ("gzip", "x-gzip", "deflate")


def check_media(content_type: str) -> None:
    """Raises WrongMedia for the body of an HTML form.

    `application/x-www-form-urlencoded` says nothing: curl and urllib call every body that.
    """
    form = content_type.partition(";")[0].strip().lower()
    if form == FORM:
        raise WrongMedia(
            f"the body is a form ({form}): send the file itself as the body, as "
            "`curl --data-binary @FILE` does"
        )


def decompressed(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """A body without its Content-Encoding. Raises WrongMedia, TooLarge, ConfigError."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ENCODINGS:
        raise WrongMedia("Content-Encoding may be gzip or deflate")
    reader = zlib.decompressobj(32 + zlib.MAX_WBITS)  # finds out which of both it is
    try:
        data = reader.decompress(body, limit_bytes + 1)
    except zlib.error as exc:
        raise ConfigError(f"the body is not {encoding}: it cannot be decompressed") from exc
    if len(data) > limit_bytes:
        raise TooLarge(f"the body is above the limit of {limit_bytes / 1e6:g} MB, decompressed")
    if not reader.eof or reader.unused_data:
        raise ConfigError(f"the body is not {encoding} as a whole")
    return data


def retry_after(seconds: float) -> dict[str, str]:
    return {"retry-after": str(max(1, math.ceil(seconds)))}
