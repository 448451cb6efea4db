"""Pushed bodies come in: a few at a time, at each client's rate, within their limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import msgspec
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.outputs.limits import Buckets, check_media, decompressed, read_body

BODY_TIMEOUT_S = 20.0
BURST = 10

HttpResult = TypeVar("HttpResult")


def to_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


class Busy(Exception):
    """Not possible now. seconds: until another try makes sense."""

    def __init__(self, status: int, message: str, seconds: float) -> None:
        super().__init__(message)
        self.status, self.seconds = status, seconds


class UploadLimiter:
    """Lets pushed images in: a few at a time, each client at its rate, each body within its limit."""

    def __init__(self, config: HttpConfig) -> None:
        self.limit_bytes = int(config.max_upload_mb * 1e6)
        self._buckets = Buckets(config.pushes_per_s, BURST)
        self._slots = anyio.Semaphore(config.pushes_at_once)

    async def run(self, request: Request, work: Callable[[bytes], HttpResult]) -> HttpResult:
        """`work`, in a thread, on the request's body."""
        check_media(request.headers.get("content-type", ""))
        client = request.client.host if request.client else ""
        if (seconds := self._buckets.take(client)) is not None:
            raise Busy(429, "too many requests", seconds)
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:
            raise Busy(503, "too many faces are being pushed", 1.0) from None
        try:
            stated = request.headers.get("content-length")
            encoding = request.headers.get("content-encoding", "")
            body = await read_body(request.stream(), stated, self.limit_bytes, BODY_TIMEOUT_S)
            return await run_in_threadpool(
                lambda: work(decompressed(body, encoding, self.limit_bytes))
            )
        finally:
            self._slots.release()
