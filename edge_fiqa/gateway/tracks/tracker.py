"""Which faces of two frames are one person: ByteTrack (arXiv:2110.06864) of the `trackers` package.

Overlap is taken between boxes that are grown by BUFFER (arXiv:2211.14317).
At a few frames per second a small face moves by more than its own width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker
from trackers.utils.iou import BIoU

from edge_fiqa.types import Box

BUFFER = 0.5  # of a box's width and height, on every side
START_SCORE = 0.7  # a face detected with less confidence does not start a track
TRACKER_FPS = 30  # in whose frames the package counts


class Tracker:
    """The people before one camera. Not thread-safe.

    lost_s: a person who is not seen for longer has left, and is a new person on coming back.
    track: whether people are followed; without, every face is a person who ends with the next frame.
    """

    def __init__(self, lost_s: float, track: bool = True) -> None:
        self.lost_s, self.track = lost_s, track
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(1, round(TRACKER_FPS * lost_s)),
            track_activation_threshold=START_SCORE,
            minimum_consecutive_frames=1,
            iou=BIoU(BUFFER),
        )
        self._seen: dict[int, float] = {}  # number of a track -> time
        self._numbers: dict[int, int] = {}  # the package's id -> number of the track
        self._next = 0

    def update(
        self, boxes: Sequence[Box], scores: Sequence[float], now: float
    ) -> tuple[list[int | None], list[int]]:
        """Faces (x, y, width, height) of a frame at `now` seconds -> their tracks, and those ended.

        None: seen for the first time, and perhaps not a face.
        """
        if not self.track:
            ended, self._seen = list(self._seen), {}
            return [self._start(now) for _ in boxes], ended
        ended = self.end_lost(now)
        numbers: list[int | None] = [None] * len(boxes)
        for index, tracker_id in self._matched(boxes, scores, now):
            number = self._numbers.get(tracker_id)
            if number is None:
                number = self._numbers[tracker_id] = self._start(now)
            self._seen[number] = now
            numbers[index] = number
        return numbers, ended

    def end_lost(self, now: float) -> list[int]:
        """The people who have not been seen for too long."""
        return self._end([n for n, seen in self._seen.items() if now - seen > self.lost_s])

    def end_all(self) -> list[int]:
        """All people: the camera is gone."""
        self._tracker.reset()
        return self._end(list(self._seen))

    def end(self, number: int) -> None:
        """This track: its person, if still seen, is a new one."""
        self._end([number])

    def _start(self, now: float) -> int:
        self._next += 1
        self._seen[self._next] = now
        return self._next

    def _end(self, numbers: list[int]) -> list[int]:
        for number in numbers:
            del self._seen[number]
        self._numbers = {key: n for key, n in self._numbers.items() if n in self._seen}
        return numbers

    def _matched(
        self, boxes: Sequence[Box], scores: Sequence[float], now: float
    ) -> list[tuple[int, int]]:
        """(index into `boxes`, the package's id) of every face that it follows."""
        corners = np.array(boxes, np.float32).reshape(-1, 4).copy()
        corners[:, 2:] += corners[:, :2]
        detections = sv.Detections(
            corners,
            confidence=np.array(scores, np.float32),
            data={"index": np.arange(len(boxes))},
        )
        tracked = self._tracker.update(detections, timestamp=now)
        if not len(tracked) or tracked.tracker_id is None:
            return []
        pairs = zip(tracked.data["index"], tracked.tracker_id, strict=True)
        return [(int(index), int(number)) for index, number in pairs if number >= 0]
