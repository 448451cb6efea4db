"""What the gateway knows of the people in front of its cameras, for any thread to read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np

from edge_fiqa.gateway.events.person import Counts, Person, jpeg_of, track_view
from edge_fiqa.gateway.view import FaceView, TrackView
from edge_fiqa.types import Box

ENDED_TRACKS = 200  # so many of the latest ended tracks can still be asked for
LATENCIES = 4096  # percentiles are taken of so many of the latest events

FacePlace = tuple[str | None, Box, Sequence[str]]


class KnownPeople:
    """Who changes it holds the lock meanwhile.

    good_tracks: the tracks that have a good shot.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self.good_tracks: set[str] = set()
        self._people: dict[str, Person] = {}
        self._ended: deque[Person] = deque(maxlen=ENDED_TRACKS)
        self._faces: dict[str, list[FacePlace]] = {}
        self._by_zone: dict[str, bool] = {}  # camera -> whether it requires zones
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._lock = threading.Lock()

    def totals(self) -> tuple[Counts, tuple[float, float] | None]:
        """Return a copy of the counts, and p50 and p99 of the seconds from frame to event."""
        with self._lock:
            counts = self.counts.copy()
            recent = list(self._latencies)
        if not recent:
            return counts, None
        p50, p99 = np.quantile(recent, (0.5, 0.99)).tolist()
        return counts, (p50, p99)

    def tracks(self) -> list[TrackView]:
        """Return the open tracks, then those that ended lately, each with the newest first."""
        with self._lock:
            return [
                *(track_view(p, True) for p in reversed(self._people.values()) if p.announced),
                *(track_view(person, False) for person in reversed(self._ended)),
            ]

    def faces(self, camera: str) -> list[FaceView]:
        """The faces in the camera's latest frame; where a zone is required, of announced people."""
        with self._lock:
            return [
                self._face_view(*place)
                for place in self._faces.get(camera, ())
                if not self._by_zone[camera] or self._is_announced(place[0])
            ]

    def _is_announced(self, track: str | None) -> bool:
        return track is not None and track in self._people and self._people[track].announced

    def people(self, camera: str) -> int:
        """How many people are followed before the camera now and announced, scored or not."""
        with self._lock:
            there = (p for p in self._people.values() if p.end_reason is None and p.announced)
            return sum(person.camera == camera for person in there)

    def _face_view(self, track: str | None, box: Box, zones: Sequence[str]) -> FaceView:
        person = None if track is None else self._people.get(track)
        if person is None:
            return FaceView(track or "", box, None, None, zones)
        instruction = None if person.id in self.good_tracks else person.instruction
        if person.last is None:
            return FaceView(person.id, box, None, None, zones, instruction)
        quality, depth = person.last.quality.scalar, person.last.exit.depth
        return FaceView(person.id, box, quality, depth, zones, instruction)

    def snapshot(self, track: str) -> bytes | None:
        """Return the best face of a track as JPEG."""
        with self._lock:
            ended = (person for person in self._ended if person.id == track)
            person = self._people.get(track) or next(ended, None)
            return jpeg_of(person) if person is not None and person.announced else None
