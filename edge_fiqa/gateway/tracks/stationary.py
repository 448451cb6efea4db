"""Faces that do not move: a poster, a picture on a wall.

A place is where a face was seen without moving. It is known for longer than the track, so that a
poster that the detector loses now and then is the same poster when it is seen again.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_fiqa.types import Box

SAME_PLACE = 0.7
"""Overlap (intersection over union) of two boxes of a face that did not move.

Printed faces of 50 to 130 pixels in a compressed video with much noise kept 0.71 and more.
"""
MOVED_LOOKS = 3  # in a row at another place: one alone may be the detector's
MOST_PLACES = 50
WORTH_S = 5.0  # without moving, else a place is not remembered
KEPT_S = (
    24 * 3600.0
)  # a place that is known to be stationary is forgotten so long after the last face


@dataclass
class StillPlace:
    """box: of the face when it was seen first. still_s: how long faces did not move here, in all.

    seen: time of the last one. elsewhere: looks in a row that showed its face at another place.
    """

    box: Box
    seen: float
    still_s: float = 0.0
    elsewhere: int = 0


class StationaryFaces:
    """Of one camera. Not thread-safe.

    limit_s: a face that did not move for so long is stationary; None: none ever is.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self._at: dict[int, StillPlace] = {}  # number of a track -> where it is
        self._known: list[StillPlace] = []  # of tracks that ended

    def see(self, number: int, box: Box, now: float) -> bool:
        """A face of a track at `now` seconds -> whether it is stationary."""
        if self.limit_s is None:
            return False
        place = self._at.get(number)
        if place is None:
            place = self._at[number] = self._place_of(box, now)
        elif overlap(place.box, box) >= SAME_PLACE:
            place.still_s += now - place.seen
            place.seen, place.elsewhere = now, 0
        else:
            place.elsewhere += 1
            if place.elsewhere >= MOVED_LOOKS:
                self._leave(place, now)
                place = self._at[number] = StillPlace(box, now)
        return place.still_s >= self.limit_s

    def end(self, number: int, now: float) -> None:
        """The track is over; its place is remembered for the next one."""
        if (place := self._at.pop(number, None)) is not None:
            self._leave(place, now)

    def _leave(self, place: StillPlace, now: float) -> None:
        place.elsewhere = 0
        known = [other for other in self._recent(now) if other is not place]
        if place.still_s >= min(WORTH_S, self.limit_s or 0.0):
            known.append(place)
        self._known = sorted(known, key=lambda other: -other.still_s)[:MOST_PLACES]

    def _recent(self, now: float) -> list[StillPlace]:
        """A place that may become stationary is remembered for as long as that takes."""
        limit_s = self.limit_s or 0.0
        return [
            place
            for place in self._known
            if now - place.seen <= (KEPT_S if place.still_s >= limit_s else limit_s)
        ]

    def _place_of(self, box: Box, now: float) -> StillPlace:
        """A place that is known, or a new one."""
        near = [p for p in self._recent(now) if overlap(p.box, box) >= SAME_PLACE]
        if not near:
            return StillPlace(box, now)
        place = max(near, key=lambda place: place.still_s)
        place.seen = now
        return place


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0.0, across) * max(0.0, down)
    return common / (a[2] * a[3] + b[2] * b[3] - common)
