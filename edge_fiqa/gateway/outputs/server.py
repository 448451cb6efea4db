"""The HTTP server in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.decoders import Decoders
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.outputs.auth import security_headers
from edge_fiqa.gateway.outputs.connections import (
    CONNECTIONS,
    PER_ADDRESS,
    SHARE,
    ListeningSocket,
    raise_descriptor_limit,
)
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.view import View

logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of every request that is none

HEADER_BYTES, HEADER_S = 32_768, 10.0
"""Of a request's head; for a TLS handshake, and for the next request of a connection."""
WRITE_S = 20.0
"""A client that takes nothing of an answer for so long is cut off."""
START_S, DRAIN_S = 10.0, 3.0
ACCEPTED_AT_ONCE = 16


class PromptProtocol(H11Protocol):
    """Closes a connection on which no request begins for HEADER_S, or no answer is taken for WRITE_S.

    What is no HTTP is answered as everything else: one line of JSON, with the same headers.
    """

    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._writes_again()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writes_again()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is on its way
            self.transport.close()
            return
        headers = [*security_headers(self.config.is_ssl), *FRAMING_HEADERS]
        body = b'{"error": "this is no valid HTTP request"}'
        answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._close()

    def _writes_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _expect_request(self) -> None:
        answered = self.cycle

        def close_if_none_came() -> None:
            if self.cycle is answered:
                self._close()

        self.loop.call_later(HEADER_S, close_if_none_came)

    def _close(self) -> None:
        """After what is written is taken; at once where it is not."""
        self.transport.close()
        self.loop.call_later(WRITE_S, self.transport.abort)


FRAMING_HEADERS = [(b"content-type", b"application/json"), (b"connection", b"close")]


class HttpServer:
    """Serves from the moment it exists, at `url`. `close` ends it; safe to call twice."""

    def __init__(self, view: View, config: HttpConfig, sinks: Sequence[Sink]) -> None:
        token = config.token()
        check_certificate(config)
        self._tls = config.tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = _bind(config)
        port = self._socket.getsockname()[1]
        shown = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"{'https' if config.tls else 'http'}://{shown}:{port}"
        self._decoders = Decoders()
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(view, config, sinks, token, self._decoders.decode),
                http=PromptProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,  # addresses of people are personal data, too
                server_header=False,
                proxy_headers=False,
                backlog=ACCEPTED_AT_ONCE,
                h11_max_incomplete_event_size=HEADER_BYTES,
                ssl_certfile=config.tls_cert,
                ssl_keyfile=config.tls_key,
            )
        )
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()
        self._wait_until_started()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        if self._tls:  # uvicorn leaves both at a minute and half a minute
            more = {"ssl_shutdown_timeout": WRITE_S} if sys.version_info >= (3, 11) else {}
            with_limits = partial(loop.create_server, ssl_handshake_timeout=HEADER_S, **more)
            loop.create_server = with_limits  # type: ignore[method-assign]
        await self._server.serve(sockets=[self._socket])

    def _wait_until_started(self) -> None:
        until = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise ConfigError("http: the server did not start; see the log")
            time.sleep(0.01)

    def close(self, timeout_s: float = 5.0) -> None:
        """Requests in hand have DRAIN_S. Pictures that are decoded longer are given up."""
        self._server.should_exit = True
        self._thread.join(min(DRAIN_S, timeout_s))
        self._decoders.close()
        if self._thread.is_alive() and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop just ended
                self._loop.call_soon_threadsafe(self._give_up)
        self._thread.join(max(0.0, timeout_s - DRAIN_S))
        self._socket.close()

    def _give_up(self) -> None:
        """Have what is still in hand answered 503; then wait for nobody."""
        for task in list(self._server.server_state.tasks):
            task.cancel()
        self._server.force_exit = True


def _bind(config: HttpConfig) -> ListeningSocket:
    host = "127.0.0.1" if config.host == "localhost" else config.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    most = min(CONNECTIONS, max(1, raise_descriptor_limit() // SHARE))
    per_address = most if config.behind_proxy else min(PER_ADDRESS, most)
    bound = ListeningSocket(family, most=most, per_address=per_address, tls=config.tls)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, config.port))
    except OSError as exc:
        bound.close()
        raise ConfigError(f"http.host, http.port: {host}:{config.port}: {exc.strerror}") from exc
    return bound


def check_certificate(config: HttpConfig) -> None:
    """Raises ConfigError if certificate and key cannot be used."""
    if config.tls_cert is None or config.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"http.tls_cert, http.tls_key: {exc}") from exc
