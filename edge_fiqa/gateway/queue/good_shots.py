"""People who have a good shot are scored now and then, not in every frame."""

from __future__ import annotations

from collections.abc import Set


class GoodShotInterval:
    """Lets one face through in `seconds` of each person who has a good shot. Not thread-safe.

    seconds: 0: every face. May be exchanged at any time.
    good_tracks: tracks that have a good shot; the caller keeps this set up to date.
    """

    def __init__(self, seconds: float, good_tracks: Set[str]) -> None:
        self.seconds, self._good_tracks = seconds, good_tracks
        self._last: dict[str, float] = {}  # track -> when a face was let through

    def is_too_soon(self, track: str | None, arrived: float) -> bool:
        """Whether this face comes too soon after the last one. arrived: seconds on one clock."""
        if track is None or track not in self._good_tracks:
            return False
        last = self._last.get(track)
        if last is not None and arrived - last < self.seconds:
            return True
        if last is None:  # a new one: those that have ended leave
            self._last = {k: t for k, t in self._last.items() if k in self._good_tracks}
        self._last[track] = arrived
        return False
