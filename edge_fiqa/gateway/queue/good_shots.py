"""People who have a good shot are scored now and then, not in every frame."""

from __future__ import annotations

from collections.abc import Set


class GoodShotInterval:
    """Of each person who has a good shot, one face in `seconds` is wanted. Not thread-safe.

    seconds: 0: every face. May be exchanged at any time.
    good_tracks: tracks that have a good shot; the caller keeps this set up to date.
    """

    def __init__(self, seconds: float, good_tracks: Set[str]) -> None:
        self.seconds, self._good_tracks = seconds, good_tracks
        self._last: dict[str, float] = {}  # track -> when its last face was taken

    def is_too_soon(self, track: str | None, arrived: float) -> bool:
        """Whether this face comes too soon after the last one. arrived: seconds on one clock."""
        last = None if track is None else self._last.get(track)
        return last is not None and track in self._good_tracks and arrived - last < self.seconds

    def note(self, track: str | None, arrived: float) -> None:
        """A face of this track was taken."""
        if track is None or track not in self._good_tracks:
            return
        if track not in self._last:  # a new one: those that have ended leave
            self._last = {k: t for k, t in self._last.items() if k in self._good_tracks}
        self._last[track] = arrived
