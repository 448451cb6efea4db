"""Why a stream does not open: OpenCV says only that it does not, and people must know what to mend.

The host is resolved, its port is asked, and an RTSP server what it offers (RFC 2326, 10.2: DESCRIBE;
RFC 7617 and 7616: Basic and Digest). No message holds an address, a user name or a password.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import time
import urllib.request
from dataclasses import dataclass
from urllib.parse import unquote
from urllib.request import parse_http_list, parse_keqv_list

from edge_fiqa.gateway.config.address import StreamAddress, read_address

PORTS = {"rtsp": 554, "http": 80, "https": 443, "rtmp": 1935, "rtsps": 322, "rtmps": 443}
ANSWER_BYTES = 65_536
NOT_A_VIDEO = "it answers, and sends no video that can be read"
NO_VIDEO = "the stream has no video: sound only, or metadata"
NO_SUCH_STREAM = "it has no such stream: look at the path of its address"
WRONG_PASSWORD = "it refuses user name and password"
NO_PASSWORD = "it asks for a user name and a password: give username and password_env"


@dataclass(frozen=True)
class Reply:
    """Of an RTSP server. headers: names in lower case, and all values of each."""

    status: int
    headers: dict[str, list[str]]
    body: str


def why_not_open(address: str, timeout_s: float) -> str:
    """One line. Takes at most twice `timeout_s`, and the resolver's time."""
    parts = read_address(address)
    port = parts.port or PORTS.get(parts.scheme)
    if not parts.host or port is None or parts.scheme == "srt":
        return "no answer, or not a video: look at address, password and network"
    try:
        with socket.create_connection((parts.host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            if parts.scheme != "rtsp":
                return NOT_A_VIDEO
            return _why_no_video(RtspClient(connection, address, parts))
    except socket.gaierror:
        return "its host name is not known"
    except ConnectionRefusedError:
        return f"its host answers, and nothing listens at port {port}"
    except TimeoutError:
        return "its host does not answer"
    except OSError as exc:
        return f"it cannot be reached: {exc.strerror or 'the connection ended'}"
    except ValueError:
        return "it answers, and not as an RTSP server does"


class RtspClient:
    """Asks on an open connection what a stream offers."""

    def __init__(self, connection: socket.socket, address: str, parts: StreamAddress) -> None:
        self._connection = connection
        user, _, password = (parts.user_info or "").partition(":")
        self.has_password = parts.user_info is not None
        self._user, self._password = unquote(user), unquote(password)
        scheme, _, rest = address.partition("://")
        self._url = f"{scheme}://{rest.rpartition('@')[2]}"
        self._number = 0
        self._until = time.monotonic() + (connection.gettimeout() or 0.0)

    def describe(self, challenge: str | None = None) -> Reply:
        """challenge: of the server, to be answered with user and password. Raises ValueError."""
        self._number += 1
        lines = [f"DESCRIBE {self._url} RTSP/1.0", f"CSeq: {self._number}"]
        lines += ["Accept: application/sdp"]
        if challenge is not None:
            lines.append(f"Authorization: {self._authorization(challenge)}")
        self._connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return self._reply()

    def _authorization(self, challenge: str) -> str:
        scheme, _, parameters = challenge.partition(" ")
        if scheme.lower() == "basic":
            return f"Basic {base64.b64encode(f'{self._user}:{self._password}'.encode()).decode()}"
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        digest = urllib.request.HTTPDigestAuthHandler(passwords)
        passwords.add_password(None, "http://x/", self._user, self._password)
        answer = digest.get_authorization(
            DescribeRequest(self._url),
            parse_keqv_list(parse_http_list(parameters)),
        )
        if answer is None:
            raise ValueError("a challenge that is none")
        return f"Digest {answer}"

    def _reply(self) -> Reply:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(data)
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"RTSP/\d\.\d (\d{3})", status)
        if match is None:
            raise ValueError("no RTSP")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = int(headers.get("content-length", ["0"])[0])
        while len(body) < min(length, ANSWER_BYTES):
            body += self._more(body)
        return Reply(int(match[1]), headers, body.decode("latin-1"))

    def _more(self, so_far: bytes) -> bytes:
        """Raises TimeoutError when all answers together take longer than the timeout: a server that
        sends a byte now and then must not hold the camera's thread."""
        self._connection.settimeout(max(self._until - time.monotonic(), 0.001))
        chunk = self._connection.recv(4096)
        if not chunk or len(so_far) > ANSWER_BYTES:
            raise ValueError("the answer ends early, or never")
        return chunk


class DescribeRequest(urllib.request.Request):
    """What urllib's digest needs to know of a request: for RTSP, the whole address is signed."""

    def __init__(self, url: str) -> None:
        super().__init__("http://x/", method="DESCRIBE")
        self.selector = url


def _why_no_video(client: RtspClient) -> str:
    reply = client.describe()
    if reply.status == 401 and not client.has_password:
        return NO_PASSWORD
    if reply.status == 401:
        for challenge in reply.headers.get("www-authenticate", []):
            with contextlib.suppress(ValueError, AttributeError):
                reply = client.describe(challenge)
                break
    if reply.status in (401, 403):
        return WRONG_PASSWORD
    if reply.status == 404:
        return NO_SUCH_STREAM
    if reply.status != 200:
        return f"it answers RTSP status {reply.status}"
    if not re.search(r"^m=video ", reply.body, re.MULTILINE):
        return NO_VIDEO
    return NOT_A_VIDEO
