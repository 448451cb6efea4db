"""Which requests pass: host name, origin and bearer token are checked before anything else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from edge_fiqa.gateway.outputs.limits import CLIENTS, Buckets

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEALTH = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
PAGE = frozenset({"/", "/app.js", "/style.css", "/icon.svg"})
OPEN = HEALTH | PAGE
"""Paths that need no token: health, and the page that asks for the token."""

FAILURES_PER_S, FAILURES = 0.2, 10
"""Different wrong tokens of an address that are answered 401: ten at once, then one in five seconds."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def security_headers(tls: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Of every answer."""
    return (*HEADERS, (b"strict-transport-security", b"max-age=31536000")) if tls else HEADERS


class Guard:
    """ASGI middleware. A request that fails a check is answered here, its body unread.

    A request that states its length twice is refused (RFC 9112, 6.1): a proxy may read it otherwise.

    The Host header must be an IP address, localhost or an allowed name.
    This stops DNS rebinding: a page elsewhere whose name resolves to this machine sends that name.
    A request with the Origin of another site is refused.
    Browsers send such requests without asking, if they are simple ones.
    """

    def __init__(
        self, app: App, token: str | None, allowed_hosts: tuple[str, ...], tls: bool
    ) -> None:
        self.app = app
        self.token = None if token is None else token.encode()
        self.allowed_hosts = frozenset(name.lower() for name in allowed_hosts)
        self.headers = security_headers(tls)
        self._failures = Buckets(FAILURES_PER_S, FAILURES)
        self._wrong: OrderedDict[bytes, None] = OrderedDict()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no WebSockets here

        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        if refusal := self._refusal(scope):
            await _answer(guarded, *refusal)
            return
        try:
            await self.app(scope, receive, guarded)
        except asyncio.CancelledError:  # the server stops, and will not wait longer
            if not started:
                await _answer(guarded, 503, "the gateway is stopping", {"connection": "close"})

    def _refusal(self, scope: Message) -> tuple[int, str, dict[str, str]] | None:
        """Status, message and headers; None if the request may pass."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if b"transfer-encoding" in headers and b"content-length" in headers:
            return (
                400,
                "give content-length or transfer-encoding, not both",
                {"connection": "close"},
            )
        host = headers.get(b"host", "")
        if not self._host_allowed(host):
            return 421, "this host name is not one of http.allowed_hosts", {}
        origin = headers.get(b"origin")
        if origin is not None and not self._origin_allowed(origin, host):
            return 403, "requests from other web sites are refused", {}
        if self.token is None or scope["path"] in OPEN:
            return None
        client = (scope.get("client") or ("",))[0]
        return self._token_refusal(client, headers.get(b"authorization", ""), self.token)

    def _token_refusal(
        self, client: str, authorization: str, token: bytes
    ) -> tuple[int, str, dict[str, str]] | None:
        """The right token always passes: others behind its address must not lock it out."""
        scheme, _, value = authorization.partition(" ")
        same = hmac.compare_digest(value.strip().encode("latin-1", "replace"), token)
        if same and scheme.lower() == "bearer":
            return None
        if authorization and self._too_many_wrong(client, authorization):
            return 429, "too many wrong tokens", {"retry-after": "5"}
        return 401, "a bearer token is needed", {"www-authenticate": 'Bearer realm="edge-fiqa"'}

    def _too_many_wrong(self, client: str, authorization: str) -> bool:
        """Counts each wrong token of an address once: a client that was not given the new one, and
        asks every second, takes no tries from a person who mistypes it."""
        digest = hashlib.sha256(f"{client} {authorization}".encode()).digest()
        known = digest in self._wrong
        self._wrong[digest] = None
        self._wrong.move_to_end(digest)
        if len(self._wrong) > CLIENTS:
            self._wrong.popitem(last=False)
        return not known and self._failures.take(client) is not None

    def _host_allowed(self, host: str) -> bool:
        name = _name_of(f"//{host}")
        if name == "localhost" or name in self.allowed_hosts:
            return True
        try:
            ipaddress.ip_address(name or "")
        except ValueError:
            return False
        return True

    def _origin_allowed(self, origin: str, host: str) -> bool:
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        return netloc.lower() == host.lower() or _name_of(origin) in self.allowed_hosts


def _name_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def _answer(send: Send, status: int, message: str, headers: dict[str, str]) -> None:
    body = json.dumps({"error": message}).encode()
    sent = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
