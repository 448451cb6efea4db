"""Events of a person in front of a camera, and the protocol of the outputs that take them.

A *track* is one person seen by one camera without a gap.
It gives one `new` event with its first usable face and an `update` for every clearly better one.
It always gives one `end`. If no face of the person could be scored, that is its only event, and its
record is null. A person who was in none of the required zones gives no event.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct

from edge_fiqa.gateway.tracks.followed_people import EndReason
from edge_fiqa.record import Record
from edge_fiqa.types import Box

SCHEMA: Final = "edge-fiqa-event/1"
EventType = Literal["new", "update", "end"]


class Event(Struct, frozen=True, kw_only=True):
    """What happened to a track. Unknown values are null, never invented.

    id: of this event, unique for all time, so that a reader can drop what it gets twice.
    track: `camera/start/number`.
    sequence: 0, 1, 2 ... within the track.
    time, started: Unix seconds.
    box: (x, y, width, height) of the best face in pixels of its frame.
    record: the best face so far; null if no face of this track could be scored.
    latency_s: from the frame's arrival to this event.
    reason: why the track ended. stationary: the face did not move for `stationary_s`, as a poster's;
    longest_track: after `longest_track_s`, and the person goes on as a new track.
    zones: of the camera, in which the person was so far, in the order of entering them.
    """

    schema: Literal["edge-fiqa-event/1"] = SCHEMA
    id: str
    type: EventType
    camera: str
    track: str
    sequence: int
    time: float
    started: float
    box: Box | None = None
    record: Record | None = None
    faces_seen: int = 0
    faces_scored: int = 0
    latency_s: float | None = None
    reason: EndReason | None = None
    zones: tuple[str, ...] = ()


class Sink(Protocol):
    """Takes events somewhere: a broker, a file, a folder.

    `publish` is called from one thread and must return at once.
    What is slow or down is the sink's own to queue, bound and retry.
    No error leaves a sink.
    """

    name: str

    @property
    def problem(self) -> str | None:
        """What is wrong just now, in one line without a secret or a path; None if nothing is."""

    @property
    def delivered(self) -> int:
        """Events that are where they should be."""

    @property
    def dropped(self) -> int:
        """Events given up."""

    @property
    def waiting(self) -> int:
        """Events not delivered yet."""

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        """snapshot: the face as JPEG, for `new` and `update`."""

    def close(self, timeout_s: float) -> None:
        """Deliver or store what is waiting, within the time. Safe to call twice."""


_encoder = msgspec.json.Encoder()


def event_to_json(event: Event) -> bytes:
    """One NDJSON line, without the newline."""
    return _encoder.encode(event)
