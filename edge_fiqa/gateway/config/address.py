"""Addresses of streams: what a URL may say, and how user name and password are put into it (RFC 3986).

FFmpeg ends the host at the first `/`, `?` or `#`, as the RFC says.
A password with one of them would be cut there, and its beginning resolved as a host name.
So such an address is refused before anything is resolved, and no message quotes a part of it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote

STREAM = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*\.?")
HOSTS = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "tcp"})
"""Schemes whose address names a host."""
USER_INFO_BYTES = 127
"""FFmpeg cuts user name and password of an RTSP address, encoded and with the colon, to so many."""
REMEDY = "give the password with `username` and `password_env`, or encode it (%23 is #, %40 is @)"


@dataclass(frozen=True)
class StreamAddress:
    """user_info: `user:password` as it stands, None without. rest: `/path?query`."""

    scheme: str
    user_info: str | None
    host: str
    port: int | None
    rest: str


def is_host(text: str) -> bool:
    """Whether it is a host name or an IP address; IPv6 without brackets."""
    if HOST_NAME.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def read_address(text: str) -> StreamAddress:
    """Of `scheme://user:password@host:port/rest`. Raises ValueError, which quotes nothing."""
    match = STREAM.fullmatch(text)
    if match is None:
        raise ValueError("not an address of the form scheme://host/path")
    scheme, remainder = match[1].lower(), match[2]
    if re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError(f"the address holds a space or control character: {REMEDY}")
    user_info, found, after = remainder.rpartition("@")
    if re.search(r"[#?/@]", user_info):
        raise ValueError(f"the address has an unencoded #, ?, / or @ before its last @: {REMEDY}")
    if re.search(r"%(?![0-9A-Fa-f]{2})", user_info):
        raise ValueError(f"the address has an unencoded % before its @: {REMEDY}")
    authority, rest = _cut(after)
    host, port = _host_and_port(scheme, authority)
    if scheme in HOSTS and not is_host(host):
        raise ValueError(f"the address names no host: {REMEDY}")
    return StreamAddress(scheme, user_info if found else None, host, port, rest)


def with_user(text: str, username: str, password: str) -> str:
    """The address with both of them, encoded. Raises ValueError, which quotes nothing."""
    address = read_address(text)
    if address.user_info is not None:
        raise ValueError("the address has a user name already: leave it out beside `username`")
    if ":" in username:
        raise ValueError("a user name must not hold a colon")
    user_info = ":".join(quote(x, safe="", errors="surrogateescape") for x in (username, password))
    if address.scheme.startswith("rtsp") and len(user_info) > USER_INFO_BYTES:
        raise ValueError(
            f"user name and password take {len(user_info)} bytes when they are encoded, and FFmpeg "
            f"reads {USER_INFO_BYTES} of them: use a shorter password"
        )
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{user_info}@{rest}"


def _cut(text: str) -> tuple[str, str]:
    """Authority, and what follows it."""
    end = re.search(r"[/?#]", text)
    return (text, "") if end is None else (text[: end.start()], text[end.start() :])


def _host_and_port(scheme: str, authority: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?", authority)
    if match is None:
        if scheme in HOSTS:
            raise ValueError(f"the address names no host or port: {REMEDY}")
        return authority, None
    host, port = match[1].strip("[]").partition("%")[0], int(match[2]) if match[2] else None
    if match[1].startswith("[") and not (":" in host and is_host(host)):
        raise ValueError("what stands in brackets is no IPv6 address")
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError("the port is not one of 1 to 65535")
    return host, port
