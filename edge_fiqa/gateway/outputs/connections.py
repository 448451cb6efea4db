"""Connections are counted as they are accepted, so that nobody takes all descriptors of the process.

An HTTP server counts requests. A connection that asks nothing, or does not finish its TLS handshake,
is seen by its listening socket only. Cameras, store and spool need descriptors as well.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

CONNECTIONS = 100
"""In all. A client beyond them is answered 503."""
PER_ADDRESS = 32
"""From one address; of IPv6, from one /64. Not behind a proxy, which has one address for all."""
SHARE = 4
"""Connections take at most a quarter of the descriptors that the process may have."""
DESCRIPTORS = 65_536
"""More are not asked for."""
SAY_EVERY_S = 60.0
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 33\r\n"
    b"retry-after: 5\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
    b'connection: close\r\n\r\n{"error": "too many connections"}'
)
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def raise_descriptor_limit() -> int:
    """As many descriptors as the process may have without asking root. Returns their number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


class Connection(socket.socket):
    """An accepted connection. on_close: called once, when its descriptor is free again."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        if self.on_close is not None:
            on_close, self.on_close = self.on_close, None
            on_close()


class ListeningSocket(socket.socket):
    """Accepts connections up to a number, in all and from each address. Belongs to one event loop.

    A connection beyond it is accepted and closed. tls: it is closed without an answer.
    Out of descriptors, one that was kept back is used for that: else the event loop would try
    without a pause, and log a traceback each time.
    """

    def __init__(self, family: int, *, most: int, per_address: int, tls: bool) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.most, self.per_address, self.tls = most, per_address, tls
        self._open: Counter[str] = Counter()
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._said = float("-inf")

    def accept(self) -> tuple[Connection, object]:
        """As of a socket. Raises ConnectionAbortedError for one that is not let in."""
        try:
            descriptor, address = self._accept()  # type: ignore[attr-defined]
        except OSError as exc:
            if exc.errno in OUT_OF_DESCRIPTORS:
                self._turn_away_with_spare(exc)
                raise ConnectionAbortedError from exc
            raise
        connection = Connection(self.family, self.type, self.proto, fileno=descriptor)
        group = group_of(address[0])
        if self._open.total() >= self.most or self._open[group] >= self.per_address:
            self._turn_away(connection)
            raise ConnectionAbortedError
        self._open[group] += 1
        connection.on_close = lambda: self._forget(group)
        return connection, address

    @property
    def count(self) -> int:
        """Connections that are open."""
        return self._open.total()

    def _forget(self, group: str) -> None:
        self._open[group] -= 1
        if not self._open[group]:
            del self._open[group]

    def _turn_away(self, connection: socket.socket) -> None:
        self._say("more than %d connections, or %d of one address", self.most, self.per_address)
        connection.setblocking(False)
        if not self.tls:
            with contextlib.suppress(OSError):
                connection.send(FULL)
        connection.close()

    def _turn_away_with_spare(self, exc: OSError) -> None:
        self._say("%s: connections are refused until some are free", exc.strerror)
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        with contextlib.suppress(OSError):
            descriptor, _ = self._accept()  # type: ignore[attr-defined]
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _say(self, message: str, *arguments: object) -> None:
        if time.monotonic() - self._said >= SAY_EVERY_S:
            self._said = time.monotonic()
            log.warning("http: " + message, *arguments)

    def close(self) -> None:
        super().close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None


def group_of(address: str) -> str:
    """The address; of IPv6 its /64, which one machine has as a whole (RFC 4291, 2.5.4)."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address):
            mapped = parsed.ipv4_mapped
            return str(mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return address
