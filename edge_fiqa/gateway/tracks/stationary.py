"""Faces that do not move: a poster, a picture on a wall.

A place is where a face was seen without moving. It is known for longer than the track, so that a
poster that the detector loses now and then is the same poster when it is seen again.
People who stand at one spot one after the other are no poster: between them the spot is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_fiqa.types import Box

SAME_PLACE = 0.7
"""Overlap (intersection over union) of two boxes of a face that did not move.

Printed faces of 50 to 130 pixels in a compressed video with much noise kept 0.71 and more.
"""
INSIDE = 0.7  # of a box's own area: a poster that somebody hides in part
PRESENT = 0.8  # of the time since the first face, else a place does not become stationary
FLICKER_S = 1.0  # a face that is missing for no longer was there
GAP_S = 5.0  # a place that is not yet stationary is forgotten after so long without a face
CLEAR_S = 1.0  # whoever is elsewhere for so long has moved
MOST_PLACES = 50


@dataclass
class StillPlace:
    """box: of the face when it was seen first. first, seen: times of the first and the last face.

    still_s: how long a face was here, in all. stationary: it was here for long enough.
    empty_s: how long no face was here since then, less the time that one was.
    """

    box: Box
    first: float
    seen: float
    still_s: float = 0.0
    stationary: bool = False
    empty_s: float = 0.0

    def has(self, box: Box) -> bool:
        """Whether a face in this box is at this place."""
        if overlap(self.box, box) >= SAME_PLACE:
            return True
        return self.stationary and _common(self.box, box) >= INSIDE * box[2] * box[3]


@dataclass
class Standing:
    """A track and its place. away_since: of the first look of a row that showed it elsewhere."""

    place: StillPlace
    away_since: float | None = None


class StationaryFaces:
    """Of one camera. Not thread-safe.

    limit_s: a face that did not move for so long is stationary; None: none ever is.
    frame_s: time from one frame to the next.
    """

    def __init__(self, limit_s: float | None, frame_s: float = 0.0) -> None:
        self.limit_s, self.frame_s = limit_s, frame_s
        self._at: dict[int, Standing] = {}  # by number of the track
        self._places: list[StillPlace] = []

    def see(self, number: int, box: Box, now: float, looked: bool = True) -> bool:
        """A face of a track at `now` seconds -> whether it is stationary.

        looked: False: the box is that of the look before; whether it is elsewhere stays as it was.
        """
        limit_s = self.limit_s
        if limit_s is None:
            return False
        track = self._at.get(number)
        if track is None:
            track = self._at[number] = self._standing(box, now, limit_s)
        elif looked or track.away_since is None:
            self._follow(track, box, now, limit_s)
        return track.place.stationary

    def end(self, number: int, now: float) -> None:
        """The track is over; its place is remembered for the next one."""
        self._at.pop(number, None)
        if self.limit_s is not None:
            self._forget_old(now, self.limit_s)

    def forget(self) -> None:
        """All places: the picture is another one."""
        self._at, self._places = {}, []

    def _follow(self, track: Standing, box: Box, now: float, limit_s: float) -> None:
        if track.place.has(box):
            track.away_since = None
            if self._is_over(track.place, now, limit_s):
                track.place = self._new_place(box, now, limit_s)
            else:
                self._pass_time(track.place, now, limit_s)
        elif track.away_since is None:
            track.away_since = now
        elif now - track.away_since >= CLEAR_S:
            track.place, track.away_since = self._new_place(box, now, limit_s), None

    def _pass_time(self, place: StillPlace, now: float, limit_s: float) -> None:
        """A face is at its place."""
        passed, place.seen = now - place.seen, now
        if passed <= self._flicker_s:
            place.still_s += passed
            place.empty_s = max(0.0, place.empty_s - passed)
        else:
            place.empty_s += passed
        if not place.stationary:
            there_s = PRESENT * (now - place.first)
            place.stationary, place.empty_s = place.still_s >= max(limit_s, there_s), 0.0

    def _standing(self, box: Box, now: float, limit_s: float) -> Standing:
        """Where a new track is. Whoever starts beside a poster may be the poster."""
        self._forget_old(now, limit_s)
        touching = [
            place
            for place in self._places
            if place.has(box) or (place.stationary and _common(place.box, box) > 0)
        ]
        if not touching:
            return Standing(self._new_place(box, now, limit_s))
        place = max(touching, key=lambda p: (p.stationary, p.has(box), overlap(p.box, box)))
        if not place.has(box):
            return Standing(place, away_since=now)
        self._pass_time(place, now, limit_s)
        return Standing(place)

    def _new_place(self, box: Box, now: float, limit_s: float) -> StillPlace:
        """Who walks for hours has one every second: the old ones are forgotten."""
        self._forget_old(now, limit_s)
        place = StillPlace(box, now, now)
        self._places.append(place)
        return place

    def _forget_old(self, now: float, limit_s: float) -> None:
        known = [place for place in self._places if not self._is_over(place, now, limit_s)]
        self._places = sorted(known, key=lambda place: -place.still_s)[:MOST_PLACES]

    def _is_over(self, place: StillPlace, now: float, limit_s: float) -> bool:
        """One that is stationary is so until it was empty for as long as that took."""
        unseen = now - place.seen
        if not place.stationary:
            return unseen > max(GAP_S, 5 * self.frame_s)
        return place.empty_s + (unseen if unseen > self._flicker_s else 0.0) >= limit_s

    @property
    def _flicker_s(self) -> float:
        return max(FLICKER_S, 2 * self.frame_s)


def _common(a: Box, b: Box) -> float:
    """Area in which two boxes (x, y, width, height) overlap."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, across) * max(0.0, down)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    common = _common(a, b)
    return common / (a[2] * a[3] + b[2] * b[3] - common)
