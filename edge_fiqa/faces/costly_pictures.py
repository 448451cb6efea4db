"""Pictures of files that may take long to decode: in a process that is ended when they do.

The bounds of container_checks say what a JPEG or a PNG costs at most; what is cheap by them is decoded
where it is read. Everything else, and every other format, has DECODE_S (docs/decisions/0037).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Collection

from edge_fiqa.errors import ImageRefused, Overloaded
from edge_fiqa.faces.decoders import Decoders
from edge_fiqa.faces.images import DecodedImage, picture_of

DECODE_S = 60.0
"""For the largest picture that is allowed, on a slow board."""

_lock = threading.Lock()
_decoders: Decoders | None = None


def costly_picture(data: bytes, name: str, max_pixels: int) -> DecodedImage:
    """As images.picture_of. Raises ImageRefused("unreadable"), also when its time is over.

    Where a process cannot be ended by an alarm (Windows), the picture is decoded here, without a limit.
    """
    if os.name != "posix" or not sys.executable:
        return picture_of(data, name, max_pixels)
    try:
        return _started().picture(data, name, max_pixels)
    except Overloaded as exc:
        raise ImageRefused("unreadable", f"{name}: {exc}") from exc


def _started() -> Decoders:
    global _decoders
    with _lock:
        if _decoders is None:
            _decoders = Decoders(os.cpu_count() or 1, DECODE_S)
        return _decoders


def end_decoding_of(threads: Collection[int]) -> None:
    """What these threads (`threading.get_ident`) wait for is refused now: nobody wants it any more."""
    if _decoders is not None:
        _decoders.end_those_of(threads)


def _stop() -> None:
    if _decoders is not None:
        _decoders.close()


def _forget() -> None:
    """A forked process starts its own: two that read one channel would get each other's pixels."""
    global _decoders, _lock
    _decoders, _lock = None, threading.Lock()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
