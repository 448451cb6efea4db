"""A gateway as its outputs see it, made of plain values that a test may change; and events."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from PIL import Image

from edge_fiqa.gateway.events.event import Event
from edge_fiqa.gateway.view import CameraView, FaceView, Totals, TrackView
from edge_fiqa.reasons.report import Reasons
from edge_fiqa.record import Algorithm, Cost, Decision, Exit, Quality, Record


def record(scalar=73, depth=5, code="ok", source="door", accepted=True) -> Record:
    scores = tuple(1.0 + 0.05 * k if k < (depth or 0) else None for k in range(12))
    return Record(
        id=f"{source}#0",
        source=source,
        box=(80.0, 40.0, 90.0, 110.0),
        landmarks=None,
        quality=Quality(
            scalar if code == "ok" else None,
            1.184 if code == "ok" else None,
            (68, 78) if code == "ok" else None,
            code,
            Algorithm("nano", "1.0", "sha256:00"),
            "sigmoid:0011",
        ),
        exit=Exit(depth, "gate", scores, "FW"),
        cost=Cost(4.8, 7.9, None),
        decision=Decision(45, accepted, 0.01, 0.95),
        warnings=(),
    )


def event(number=0, type="new", camera="door", track=None, time=1_700_000_000.0, **more) -> Event:
    return Event(
        id=f"{camera}-{number}",
        type=type,
        camera=camera,
        track=track or f"{camera}/{time:.0f}/1",
        sequence=number,
        time=time + number,
        started=time,
        box=(80.0, 40.0, 90.0, 110.0),
        **{"record": record(source=camera), "latency_s": 0.042, **more},
    )


def jpeg(width=320, height=240, seed=0) -> bytes:
    """A smooth picture."""
    small = np.random.default_rng(seed).integers(40, 200, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


@dataclass
class FakeSink:
    """An output with these numbers."""

    name: str = "mqtt"
    problem: str | None = None
    delivered: int = 0
    dropped: int = 0
    waiting: int = 0

    def publish(self, event, snapshot):
        """Nothing changes."""

    def close(self, timeout_s):
        """Nothing waits."""


@dataclass
class FakeView:
    """Pushes give one record each, or raise what `failure` holds. `pushed` is what was pushed."""

    model: str = "nano"
    backend: str = "ov"
    not_ready: str | None = None
    failure: Exception | None = None
    pushed: list = field(default_factory=list)
    records: list = field(default_factory=lambda: [record()])
    warnings: tuple = ()
    names: tuple = ("door", "hall")
    people: int = 2
    state: str = "live"
    masks: tuple = ()
    zones: dict = field(default_factory=dict)
    causes: tuple = ()
    instruction: str | None = None
    reasons: Reasons | None = None
    moved: int = 0
    pictures: bool = True

    def ready(self):
        return self.not_ready

    def cameras(self):
        faces = (
            FaceView(
                track="door/1700000000/1", box=(80 + self.moved, 40, 90, 110), quality=73, depth=5
            ),
            FaceView(
                track="door/1700000000/2",
                box=(210, 60, 60, 75),
                quality=31,
                depth=2,
                instruction=self.instruction,
            ),
        )
        return [
            CameraView(
                name=name,
                state=self.state if index == 0 else "stale",
                frame_age_s=0.04 if index == 0 else 12.5,
                frames=1234,
                frames_per_s=9.9 if index == 0 else 0.0,
                dropped_frames=3,
                reconnects=index,
                size=(320, 240),
                faces=faces if index == 0 else (),
                people=self.people if index == 0 else 0,
                warnings=self.warnings,
                masks=self.masks if index == 0 else (),
                zones=self.zones if index == 0 else {},
            )
            for index, name in enumerate(self.names)
        ]

    def frame(self, camera):
        if not self.pictures:
            return None
        return jpeg(seed=self.names.index(camera)) if camera in self.names else None

    def tracks(self):
        return [
            TrackView(
                id=f"{camera}/1700000000/{number}",
                camera=camera,
                started=1_700_000_000.0,
                seen=1_700_000_009.0,
                open=number == 1,
                accepted=number != 2,
                record=replace(record(73 - 14 * number), reasons=self.reasons)
                if number < 4
                else None,
                zones=tuple(self.zones) if number == 1 else (),
            )
            for camera in self.names[:2]
            for number in (1, 2, 3, 4)
        ]

    def snapshot(self, track):
        known = any(t.id == track and t.record is not None for t in self.tracks())
        return jpeg(112, 112, seed=len(track) + int(track[-1])) if known else None

    def totals(self):
        return Totals(
            started=1_700_000_000.0,
            faces_found=100,
            faces_scored=90,
            skipped={"too_small": 7, "overload": 3},
            depths=[30, 22, 14, 8, 5, 4, 3, 2, 1, 1, 0, 0],
            misses=2,
            events={"new": 12, "update": 20, "end": 11},
            load=0.62,
            latency_s=(0.031, 0.094),
        )

    def push(self, image, landmarks, deadline_s):
        if self.failure is not None:
            raise self.failure
        self.pushed.append((image, landmarks, deadline_s))
        return list(self.records)

    def push_crops(self, crops):
        return [record for crop in crops for record in self.push(crop, None, None)]
