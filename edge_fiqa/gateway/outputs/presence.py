"""What the retained message of each camera says of the people in front of it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edge_fiqa.gateway.events.event import Event


class CameraState(Struct, frozen=True, kw_only=True):
    """The retained message of a camera.

    tracks: people who are followed now, scored or not; person: whether there are any.
    quality, accepted: of the last best shot that was scored.
    instruction: what the person can do for a better shot, of this one; null where nothing is certain,
    where it is accepted, and where nobody is there.
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

    def see(self, event: Event) -> None:
        before, record = self.of(event.camera, 0), event.record
        scored = record is not None and record.quality.code == "ok"
        self._states[event.camera] = CameraState(
            quality=record.quality.scalar if record and scored else before.quality,
            accepted=record.decision.accepted if record and scored else before.accepted,
            instruction=_instruction_of(event),
            time=event.time,
        )

    def of(self, camera: str, people: int) -> CameraState:
        """people: who are followed now."""
        last = self._states.get(camera, CameraState())
        return CameraState(
            person="ON" if people else "OFF",
            tracks=people,
            quality=last.quality,
            accepted=last.accepted,
            instruction=last.instruction if people else None,
            time=last.time,
        )


def _instruction_of(event: Event) -> str | None:
    """To the person of the event, who is there until it is the `end`."""
    record = event.record
    if event.type == "end" or record is None or record.reasons is None or record.decision.accepted:
        return None
    return record.reasons.instruction
