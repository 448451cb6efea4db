"""Small real videos, made by OpenCV; where it cannot write what is wanted, they are changed after."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def write_video(
    path: Path, frames: Sequence[np.ndarray], fps: float = 25.0, codec: str = "mp4v"
) -> Path:
    """(H, W, 3) uint8 RGB frames, with even sides."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def counted(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames whose brightness tells their number."""
    return [np.full((height, width, 3), 10 + 4 * number, np.uint8) for number in range(count)]


def set_frame_durations(path: Path, seconds: Sequence[float]) -> None:
    """Of an MP4 file of OpenCV: how long each frame is shown (ISO/IEC 14496-12, 8.6.1.2)."""
    data = bytearray(path.read_bytes())
    media = data.index(b"mdhd")
    (timescale,) = struct.unpack_from(">I", data, media + 16)
    entries = b"".join(struct.pack(">II", 1, round(timescale * each)) for each in seconds)
    start = data.index(b"stts") - 4
    (old,) = struct.unpack_from(">I", data, start)
    box = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(seconds)) + entries
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.index(parent) - 4
        (size,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, size + len(box) - old)
    data[start : start + old] = box
    edit_list = data.find(b"edts")  # it would end the video at its old duration
    if edit_list >= 0:
        data[edit_list : edit_list + 4] = b"free"
    path.write_bytes(data)


def turn_by_quarter(path: Path) -> None:
    """The matrix of an MP4's track says: show it turned by 90 degrees (8.3.2)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, layers
    one = 1 << 16
    struct.pack_into(">9i", data, matrix, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
