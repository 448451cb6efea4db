"""Frames of a recorded video, upright and with their times: as many in a second as are searched."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.faces.images import printable
from edge_fiqa.files import no_descriptors
from edge_fiqa.footage.frame_times import FrameClock, FrameTimes
from edge_fiqa.types import Bytes

FIRST_FRAMES = 16  # whose stamps say whether there are any
SLOT_TOLERANCE = 0.1  # of the time between two searched frames: a frame may come that much early
ADDRESS = re.compile(r"[a-z]+:/", re.IGNORECASE)  # a path has lost one of the two slashes
CUT_SHORT = 0.95  # of the stated duration; a file that ends earlier is cut short
NO_VIDEO = (
    "no frame in it can be read: it is audio alone, cut short, or of a kind that OpenCV does not know "
    "(ffprobe shows what is in it)"
)


@dataclass(frozen=True)
class VideoFrame:
    """image: (H, W, 3) uint8 RGB, turned as the file says. number: from 0. time_s: from its begin."""

    number: int
    time_s: float
    image: Bytes


class VideoFile:
    """A video on disk, read once.

    search_fps: frames in a second of the video that are decoded; all are counted.
    is_still: it has a single frame. frames, damaged: so far. last_s: time of the last frame.
    Raises ConfigError for a file that holds no readable video.
    """

    def __init__(self, path: Path, search_fps: float) -> None:
        self.path, self.name, self.search_fps = path, printable(path), search_fps
        _check_file(path, self.name)
        self.clock, self.is_still = self._first_look()
        self.frames = self.damaged = 0
        self.last_s = 0.0
        self._times = FrameTimes(self.clock)
        self._video = self._open()
        self.stated_s = _stated_duration(self._video, path)

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames to search. One that is damaged is passed over."""
        searched = -1
        while self._video.grab():
            number, self.frames = self.frames, self.frames + 1
            self.last_s = self._times.next(number, self._video.get(cv2.CAP_PROP_POS_MSEC))
            slot = int(self.last_s * self.search_fps + SLOT_TOLERANCE)
            if slot <= searched:
                continue
            image = self._decoded()
            if image is not None:
                searched = slot
                yield VideoFrame(number, self.last_s, image)

    @property
    def period_s(self) -> float:
        """Seconds between two frames that are searched, at the median."""
        return max(1 / self.search_fps, self.clock.period_s)

    def warnings(self) -> list[str]:
        """What is not as it should be, after the last frame."""
        warnings = [] if self.clock.warning is None else [self.clock.warning]
        if self._times.restarts:
            warnings.append(f"its time stamps began anew {counted(self._times.restarts, 'time')}")
        if self.damaged:
            warnings.append(f"{counted(self.damaged, 'frame is', 'frames are')} damaged")
        if (cut_short := self.cut_short()) is not None:
            warnings.append(cut_short)
        return warnings

    def cut_short(self) -> str | None:
        """What is said of a file that ends before its stated end; None for others."""
        end_s, stated_s = self.last_s + self.clock.period_s, self.stated_s
        if stated_s is None or not self.clock.stamped or end_s >= CUT_SHORT * stated_s - 1:
            return None
        return f"it is cut short: it states {stated_s:.1f} s, and ends after {end_s:.1f} s"

    def close(self) -> None:
        self._video.release()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> Any:
        try:
            video = cv2.VideoCapture(os.fspath(self.path.absolute()), cv2.CAP_FFMPEG)
        except (cv2.error, UnicodeEncodeError) as exc:
            raise ConfigError(f"{self.name}: it cannot be opened; give it a plain name") from exc
        if not video.isOpened():
            raise ConfigError(f"{self.name}: {no_descriptors() or NO_VIDEO}")
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # OpenCV 4.11 has it off
        return video

    def _first_look(self) -> tuple[FrameClock, bool]:
        """How its frames are timed, and whether there is only one."""
        video, stamps = self._open(), list[float]()
        try:
            while len(stamps) < FIRST_FRAMES and video.grab():
                stamps.append(float(video.get(cv2.CAP_PROP_POS_MSEC)))
            if not stamps:
                raise ConfigError(f"{self.name}: {NO_VIDEO}")
            clock = FrameClock.of(stamps, float(video.get(cv2.CAP_PROP_FPS)))
            return clock, len(stamps) == 1
        finally:
            video.release()

    def _decoded(self) -> Bytes | None:
        try:
            decoded, image = self._video.retrieve()
            if decoded:
                return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        except cv2.error:
            pass
        self.damaged += 1
        return None


def _check_file(path: Path, name: str) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        if ADDRESS.match(name):
            reason = "it is an address; streams are for edge-fiqa gateway"
        raise ConfigError(f"{name}: {reason}") from exc
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{name}: it is a folder; name one video, or use edge-fiqa score")
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"{name}: it is no regular file; copy it to one (cameras: edge-fiqa gateway)"
        )
    if not status.st_size:
        raise ConfigError(f"{name}: the file is empty")


def _stated_duration(video: Any, path: Path) -> float | None:
    """Of a Matroska file nothing: it counts from 0, and frames that kept a recorder's stamps do not."""
    if path.suffix.lower() in (".mkv", ".webm"):
        return None
    frames, fps = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
    return float(frames / fps) if frames > 0 and fps > 0 else None
