"""Whether people are in front of each camera, derived from events alone."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edge_fiqa.gateway.events.event import Event


class CameraState(Struct, frozen=True, kw_only=True):
    """The retained message of a camera. quality, accepted: of the last best shot that was scored."""

    person: Literal["ON", "OFF"] = "OFF"
    tracks: int = 0
    quality: int | None = None
    accepted: bool | None = None
    time: float | None = None


class Presence:
    """The state of every camera after the events so far."""

    def __init__(self) -> None:
        self._open: dict[str, set[str]] = {}
        self._states: dict[str, CameraState] = {}

    def see(self, event: Event) -> None:
        tracks = self._open.setdefault(event.camera, set())
        (tracks.discard if event.type == "end" else tracks.add)(event.track)
        before, record = self.of(event.camera), event.record
        scored = record is not None and record.quality.code == "ok"
        self._states[event.camera] = CameraState(
            person="ON" if tracks else "OFF",
            tracks=len(tracks),
            quality=record.quality.scalar if record and scored else before.quality,
            accepted=record.decision.accepted if record and scored else before.accepted,
            time=event.time,
        )

    def of(self, camera: str) -> CameraState:
        return self._states.get(camera, CameraState())
