"""Who is who from frame to frame: ByteTrack (arXiv:2110.06864) of the `trackers` package.

Its overlap is taken between boxes grown by BUFFER (arXiv:2211.14317): at a few frames per second a
small face moves by more than its own width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker
from trackers.utils.iou import BIoU

from edge_fiqa.types import Box

BUFFER = 0.5  # of a box's width and height, on every side
SURE = 0.7  # a face found with less confidence does not start a track
MOST_FRAMES = 10_000  # the tracker's own count; that somebody left is decided by time


class Tracker:
    """The people before one camera. Not thread-safe.

    lost_s: unseen for longer, a person has left; one who comes back is somebody new.
    """

    def __init__(self, lost_s: float, track: bool = True) -> None:
        self.lost_s, self.track = lost_s, track
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(1, round(30 * lost_s)),  # in frames of 1/30 s
            track_activation_threshold=SURE,
            minimum_consecutive_frames=1,
            iou=BIoU(BUFFER),
        )
        self._seen: dict[int, float] = {}  # our number -> time
        self._number: dict[int, int] = {}  # the tracker's -> ours
        self._next = 0

    def update(
        self, boxes: Sequence[Box], scores: Sequence[float], now: float
    ) -> tuple[list[int | None], list[int]]:
        """Faces (x, y, width, height) of a frame at `now` seconds -> their tracks, and those ended.

        None: seen for the first time, and perhaps no face at all. Without tracking, every face is
        somebody of its own, who ends with the next frame.
        """
        if not self.track:
            left, self._seen = list(self._seen), {}
            return [self._start(now) for _ in boxes], left
        ended = self.end_lost(now)
        numbers: list[int | None] = [None] * len(boxes)
        for place, tracker_id in self._matched(boxes, scores, now):
            number = self._number.get(tracker_id)
            if number is None:
                number = self._number[tracker_id] = self._start(now)
            self._seen[number] = now
            numbers[place] = number
        return numbers, ended

    def end_lost(self, now: float) -> list[int]:
        """The people who have not been seen for too long."""
        return self._end([n for n, seen in self._seen.items() if now - seen > self.lost_s])

    def end_all(self) -> list[int]:
        """Everybody: the camera is gone."""
        self._tracker.reset()
        return self._end(list(self._seen))

    def _start(self, now: float) -> int:
        self._next += 1
        self._seen[self._next] = now
        return self._next

    def _end(self, numbers: list[int]) -> list[int]:
        for number in numbers:
            del self._seen[number]
        gone = set(numbers)
        self._number = {key: n for key, n in self._number.items() if n not in gone}
        return numbers

    def _matched(
        self, boxes: Sequence[Box], scores: Sequence[float], now: float
    ) -> list[tuple[int, int]]:
        """(place in `boxes`, the tracker's id) of every face it knows."""
        corners = np.array(boxes, np.float32).reshape(-1, 4).copy()
        corners[:, 2:] += corners[:, :2]
        found = self._tracker.update(
            sv.Detections(
                corners,
                confidence=np.array(scores, np.float32),
                data={"place": np.arange(len(boxes))},
            ),
            timestamp=now,
        )
        if not len(found) or found.tracker_id is None:
            return []
        pairs = zip(found.data["place"], found.tracker_id, strict=True)
        return [(int(place), int(number)) for place, number in pairs if number >= 0]
