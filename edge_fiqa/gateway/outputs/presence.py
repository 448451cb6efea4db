"""What the retained message of each camera says of the people in front of it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edge_fiqa.gateway.events.event import Event
from edge_fiqa.record import Record


class CameraState(Struct, frozen=True, kw_only=True):
    """The retained message of a camera.

    tracks: people who are followed now, scored or not; person: whether there are any.
    quality, accepted: of the last best shot that was scored.
    instruction: what the person of the last best shot can do for a better one; null where nothing is
    certain, where it is accepted, and once they have left.
    time: of the last event.
    """

    person: Literal["ON", "OFF"] = "OFF"
    tracks: int = 0
    quality: int | None = None
    accepted: bool | None = None
    instruction: str | None = None
    time: float | None = None


class Presence:
    """The last best shot of every camera, from events. Who is there, the view knows."""

    def __init__(self) -> None:
        self._states: dict[str, CameraState] = {}
        self._instructions: dict[str, tuple[str, str | None]] = {}  # camera -> its person

    def see(self, event: Event) -> None:
        before, record = self.of(event.camera, 0), event.record
        scored = record is not None and record.quality.code == "ok"
        self._states[event.camera] = CameraState(
            quality=record.quality.scalar if record and scored else before.quality,
            accepted=record.decision.accepted if record and scored else before.accepted,
            time=event.time,
        )
        instructed, _ = self._instructions.get(event.camera, (None, None))
        if event.type != "end":
            self._instructions[event.camera] = event.track, _instruction_of(record)
        elif instructed == event.track:
            del self._instructions[event.camera]

    def of(self, camera: str, people: int) -> CameraState:
        """people: who are followed now."""
        last = self._states.get(camera, CameraState())
        _, instruction = self._instructions.get(camera, (None, None))
        return CameraState(
            person="ON" if people else "OFF",
            tracks=people,
            quality=last.quality,
            accepted=last.accepted,
            instruction=instruction if people else None,
            time=last.time,
        )


def _instruction_of(record: Record | None) -> str | None:
    if record is None or record.reasons is None or record.decision.accepted:
        return None
    return record.reasons.instruction
