"""Streams through PyAV, which shows the shape of every picture as it was sent.

OpenCV stretches what comes later to the shape of the first picture, and says nothing of it: a camera
that is turned, or set to another resolution, would show stretched faces, and they would be scored.
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
import av.logging
import numpy as np

from edge_fiqa.files import no_descriptors
from edge_fiqa.gateway.config.address import read_address
from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.video.diagnosis import (
    NO_PASSWORD,
    NO_SUCH_STREAM,
    NO_VIDEO,
    WRONG_PASSWORD,
    why_not_open,
)
from edge_fiqa.gateway.video.source_lost import SourceLost
from edge_fiqa.types import Bytes

av.logging.set_level(None)  # FFmpeg would write addresses with passwords
REFUSED = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)


class Stream:
    """An open stream. One thread at a time. Raises SourceLost."""

    def __init__(self, config: CameraConfig) -> None:
        address, timeout_s = config.address, config.timeout_s
        options = {"rtsp_transport": config.transport, **config.ffmpeg}
        try:
            self._container = av.open(address, timeout=(timeout_s, timeout_s), options=options)
        except REFUSED:  # no text of FFmpeg's: it holds the address
            without = read_address(address).user_info is None
            raise SourceLost(NO_PASSWORD if without else WRONG_PASSWORD) from None
        except av.error.HTTPNotFoundError:
            raise SourceLost(NO_SUCH_STREAM) from None
        except (av.error.FFmpegError, OSError, ValueError):
            raise SourceLost(no_descriptors() or why_not_open(address, timeout_s)) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceLost(NO_VIDEO)
        self._frame: av.VideoFrame | None = None
        self._shape: tuple[int, int] | None = None
        self._frames = self._decoded()

    def grab(self) -> bool:
        """Wait for the next picture. A damaged one counts as well, and cannot be retrieved."""
        try:
            self._frame = next(self._frames)
        except (StopIteration, av.error.FFmpegError, OSError):
            raise SourceLost("the stream stopped") from None
        if self._frame is not None:
            shape = self._frame.width, self._frame.height
            if self._shape not in (None, shape):
                raise SourceLost(f"the picture is now {shape[0]}x{shape[1]}: it is opened anew")
            self._shape = shape
        return True

    def retrieve(self) -> Bytes | None:
        """(H, W, 3) uint8 RGB, or None where it is damaged."""
        if self._frame is None:
            return None
        try:
            return np.asarray(self._frame.to_ndarray(format="rgb24"), np.uint8)
        except (av.error.FFmpegError, ValueError):
            return None

    def close(self) -> None:
        self._container.close()

    def _decoded(self) -> Iterator[av.VideoFrame | None]:
        """Every picture, and None for a packet that cannot be decoded."""
        for packet in self._container.demux(self._container.streams.video[0]):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                yield None
