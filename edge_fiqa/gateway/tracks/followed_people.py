"""The people before one camera: followed, and ended where they left, do not move, or stay for long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_fiqa.gateway.tracks.stationary import StationaryFaces
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.types import Box

EndReason = Literal["left", "stationary", "longest_track", "camera_lost", "shutdown"]
End = tuple[int, EndReason]


@dataclass(frozen=True)
class Limits:
    """lost_s: a person who is not seen for longer has left.

    stationary_s: a face that does not move for longer is a poster: its track ends, and it is nobody
    until it moves. longest_track_s: a track ends after it, and the person is a new one. None: no limit.
    """

    lost_s: float
    stationary_s: float | None = None
    longest_track_s: float | None = None


@dataclass(frozen=True)
class Followed:
    """The faces of a frame. numbers: of their tracks; None: seen once, or stationary."""

    numbers: list[int | None]
    stationary: list[bool]
    ended: list[End]


class FollowedPeople:
    """Of one camera. Not thread-safe. track: whether people are followed, see Tracker."""

    def __init__(self, limits: Limits, track: bool = True) -> None:
        self.track = track
        self._tracker = Tracker(limits.lost_s, track)
        self._stationary = StationaryFaces(None)
        self._since: dict[int, float] = {}  # number of a track that others know -> its first time
        self.limits = limits

    @property
    def limits(self) -> Limits:
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits, self._tracker.lost_s = limits, limits.lost_s
        self._stationary.limit_s = limits.stationary_s if self.track else None

    def update(self, boxes: Sequence[Box], scores: Sequence[float], now: float) -> Followed:
        """Faces (x, y, width, height) of a frame at `now` seconds. An ended track has no face in it."""
        ended = self._end_longest(now)
        numbers, lost = self._tracker.update(boxes, scores, now)
        ended += self._known(lost, "left", now)
        still = [
            number is not None and self._stationary.see(number, box, now)
            for number, box in zip(numbers, boxes, strict=True)
        ]
        for number, is_still in zip(numbers, still, strict=True):
            if number is None:
                continue
            if not is_still:
                self._since.setdefault(number, now)
            elif number in self._since:
                self._tracker.end(number)
                ended += self._known([number], "stationary", now)
        shown = [None if s else number for number, s in zip(numbers, still, strict=True)]
        return Followed(shown, still, ended)

    def end_lost(self, now: float) -> list[int]:
        """The people who have not been seen for too long."""
        return [number for number, _ in self._known(self._tracker.end_lost(now), "left", now)]

    def end_all(self, now: float) -> list[int]:
        """All people: the camera is gone."""
        return [number for number, _ in self._known(self._tracker.end_all(), "left", now)]

    def _end_longest(self, now: float) -> list[End]:
        longest_s = self.limits.longest_track_s
        if longest_s is None:
            return []
        over = [number for number, since in self._since.items() if now - since >= longest_s]
        for number in over:
            self._tracker.end(number)
        return self._known(over, "longest_track", now)

    def _known(self, numbers: Sequence[int], reason: EndReason, now: float) -> list[End]:
        """These tracks are over -> those of them that others know."""
        for number in numbers:
            self._stationary.end(number, now)
        return [(number, reason) for number in numbers if self._since.pop(number, None) is not None]
