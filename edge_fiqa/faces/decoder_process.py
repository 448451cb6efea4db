"""A process that decodes untrusted pictures, so that one which takes too long can be ended.

Its standard input is a socket to the process that started it. A request is REQUEST, the name for
messages and the encoded picture; an answer is ANSWER, the warnings with NUL between them, and the
pixels (H, W, 3) uint8 RGB, or with a height of 0 the reason for a refusal. Nothing is pickled: a
decoder that was taken over can send wrong pixels and no more.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import sys
import time

import numpy as np

REQUEST, ANSWER = struct.Struct("<QQQd"), struct.Struct("<IIII")
"""Bytes of the picture and of its name, most pixels, seconds; height, width, how much the picture was
reduced, and bytes of the text."""
TEXT_BYTES = 10_000
SPARE_BYTES, BYTES_PER_PIXEL = 512_000_000, 32
"""What a decoder may allocate: measured at 16 megapixels, WebP takes 27 per pixel, the most."""


def receive(channel: socket.socket, size: int, until: float | None = None) -> bytearray:
    """So many bytes. until: monotonic seconds. Raises EOFError, and TimeoutError after `until`."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if until is not None:
            channel.settimeout(max(1e-3, until - time.monotonic()))
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


def serve() -> None:
    """Answer requests until the other end closes the socket."""
    channel = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold faces
    _ready()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            size, length, max_pixels, seconds = REQUEST.unpack(receive(channel, REQUEST.size))
            name = receive(channel, length).decode("utf-8", "replace")
            data = bytes(receive(channel, size))
            signal.setitimer(signal.ITIMER_REAL, seconds)  # the signal ends this process
            _limit_memory(size + SPARE_BYTES + BYTES_PER_PIXEL * max_pixels)
            _answer(channel, data, name, max_pixels)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _ready() -> None:
    """Load the decoders, so that the first picture does not wait for it."""
    import cv2

    import edge_fiqa.faces.pillow_images  # noqa: F401

    cv2.setNumThreads(1)


def _limit_memory(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or size < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))


def _answer(channel: socket.socket, data: bytes, name: str, max_pixels: int) -> None:
    from edge_fiqa.errors import ImageRefused
    from edge_fiqa.faces.images import picture_of

    try:
        picture = picture_of(data, name, max_pixels)
    except ImageRefused as refusal:
        reason = _text(str(refusal))
    except MemoryError:
        reason = _text(f"{name}: it takes too much memory to decode; save it as JPEG or PNG")
    else:
        warnings = _text("\0".join(picture.warnings))
        shape = picture.pixels.shape[:2]
        channel.sendall(ANSWER.pack(*shape, picture.reduced, len(warnings)) + warnings)
        channel.sendall(np.ascontiguousarray(picture.pixels).data.cast("B"))
        return
    channel.sendall(ANSWER.pack(0, 0, 1, len(reason)) + reason)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:TEXT_BYTES]


def command() -> list[str]:
    """What starts such a process: with the modules of this one, and none from the current folder."""
    code = "import sys; sys.path[:] = sys.argv[1:]; "
    code += f"from {__name__} import serve; serve()"
    return [sys.executable, "-c", code, *(path for path in sys.path if path)]
