"""The HTTP server in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.view import View

logging.getLogger("uvicorn").setLevel(logging.WARNING)

CONNECTIONS = 100
"""A client beyond them is answered 503."""
HEADER_BYTES, HEADER_S = 32_768, 10.0
START_S, DRAIN_S = 10.0, 3


class PromptProtocol(H11Protocol):
    """Closes a connection on which no request begins for HEADER_S."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        answered = self.cycle

        def close_if_none_came() -> None:
            if self.cycle is answered:
                self.transport.close()

        self.loop.call_later(HEADER_S, close_if_none_came)


class HttpServer:
    """Serves from the moment it exists, at `url`. `close` ends it; safe to call twice."""

    def __init__(self, view: View, config: HttpConfig, sinks: Sequence[Sink]) -> None:
        token = config.token()
        check_certificate(config)
        self._socket = _bind(config)
        port = self._socket.getsockname()[1]
        shown = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"{'https' if config.tls else 'http'}://{shown}:{port}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(view, config, sinks, token),
                http=PromptProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,  # addresses of people are personal data, too
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                h11_max_incomplete_event_size=HEADER_BYTES,
                timeout_graceful_shutdown=DRAIN_S,
                ssl_certfile=config.tls_cert,
                ssl_keyfile=config.tls_key,
            )
        )
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()
        self._wait_until_started()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def _wait_until_started(self) -> None:
        until = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise ConfigError("http: the server did not start; see the log")
            time.sleep(0.01)

    def close(self, timeout_s: float = 5.0) -> None:
        self._server.should_exit = True
        self._thread.join(timeout_s)
        self._socket.close()


def _bind(config: HttpConfig) -> socket.socket:
    host = "127.0.0.1" if config.host == "localhost" else config.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
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
