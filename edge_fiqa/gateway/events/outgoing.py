"""An event on its way to the sinks, made of what is known of its person."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_fiqa.gateway.events.event import Event, EventType
from edge_fiqa.gateway.events.person import Person, jpeg_of


@dataclass(frozen=True)
class OutgoingEvent:
    """An event on its way to the sinks."""

    event: Event
    snapshot: bytes | None


def outgoing_event(person: Person, kind: EventType, latency_s: float | None) -> OutgoingEvent:
    """The person's next event; counts up their sequence."""
    best = person.shot.best
    event = Event(
        id=f"{person.id}/{person.sequence}",
        type=kind,
        camera=person.camera,
        track=person.id,
        sequence=person.sequence,
        time=time.time(),
        started=person.started,
        box=None if best is None else best.box,
        record=best,
        faces_seen=person.faces_seen,
        faces_scored=person.faces_scored,
        latency_s=latency_s,
        reason=person.end_reason if kind == "end" else None,
        zones=tuple(person.zones),
    )
    person.sequence += 1
    return OutgoingEvent(event, None if kind == "end" else jpeg_of(person))
