"""The people before one camera: followed, and ended where they left, do not move, or stay for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    frame_s: time from one frame to the next.
    """

    lost_s: float
    stationary_s: float | None = None
    longest_track_s: float | None = None
    frame_s: float = 0.0


@dataclass(frozen=True)
class Followed:
    """The faces of a frame. numbers: of their tracks; None: seen once, or stationary."""

    numbers: list[int | None]
    stationary: list[bool]
    ended: list[End]


class FollowedPeople:
    """Of one camera. Not thread-safe, but any thread may set `limits`; they hold from the next frame.

    track: whether people are followed, see Tracker.
    numbers: of its tracks; None: from 1 on.
    picture: a value that says what the picture is of, and its size. Another picture has other places.
    """

    def __init__(
        self, limits: Limits, track: bool = True, numbers: Iterator[int] | None = None
    ) -> None:
        self.track, self.limits = track, limits
        self.picture: object = None
        self._tracker = Tracker(limits.lost_s, track, numbers)
        self._stationary = StationaryFaces(None)
        self._places_of: object = None  # the picture whose places are known
        self._since: dict[int, float] = {}  # number of a track that others know -> its first time

    def _take_up_limits(self) -> None:
        """Each is read once: another thread may set them meanwhile."""
        limits, picture = self.limits, self.picture
        self._tracker.lost_s = limits.lost_s
        stationary_s = limits.stationary_s if self.track else None
        if stationary_s is None or picture != self._places_of:
            self._stationary.forget()
        self._stationary.limit_s, self._stationary.frame_s = stationary_s, limits.frame_s
        self._places_of = picture

    def update(
        self,
        boxes: Sequence[Box],
        scores: Sequence[float],
        now: float,
        looked: Sequence[bool] | None = None,
    ) -> Followed:
        """Faces (x, y, width, height) of a frame at `now` seconds. An ended track has no face in it.

        looked: False for a face that is as the look before saw it; None: all were looked at.
        """
        self._take_up_limits()
        ended = self._end_longest(now)
        numbers, lost = self._tracker.update(boxes, scores, now)
        ended += self._known(lost, "left", now)
        looked = [True] * len(boxes) if looked is None else looked
        still = [
            number is not None and self._stationary.see(number, box, now, anew)
            for number, box, anew in zip(numbers, boxes, looked, strict=True)
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
        self._take_up_limits()
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
