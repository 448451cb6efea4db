"""A person before a camera, while they are there and a little longer; and the gateway's counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_fiqa.gateway.events.best_shot import BestShot
from edge_fiqa.gateway.events.pictures import to_jpeg
from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.gateway.tracks.followed_people import EndReason
from edge_fiqa.gateway.view import TrackView
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes


@dataclass
class Person:
    """A track while it lasts, and a little longer.

    picture: (H, W, 3) uint8 RGB of the best face; jpeg: the same, encoded.
    sequence: of the next event.
    pending: faces in the queue or being scored.
    last: record of the last face with a score.
    pose_instruction: what to do about the latest face, if its size or pose kept it from a score.
    zones: in which the person was, in the order of entering them.
    required_zones: of the camera, as of the latest frame.
    """

    id: str
    camera: str
    started: float
    seen: float
    shot: BestShot = field(default_factory=BestShot)
    picture: Bytes | None = None
    jpeg: bytes | None = None
    sequence: int = 0
    faces_seen: int = 0
    faces_scored: int = 0
    pending: int = 0
    last: Record | None = None
    pose_instruction: str | None = None
    end_reason: EndReason | None = None
    zones: list[str] = field(default_factory=list)
    required_zones: frozenset[str] = frozenset()

    @property
    def announced(self) -> bool:
        """Whether others hear of this person. Who was announced once stays so."""
        wanted = self.required_zones
        return self.sequence > 0 or not wanted or not wanted.isdisjoint(self.zones)

    @property
    def instruction(self) -> str | None:
        """What the person can do for a better shot, where none is accepted."""
        if self.shot.best is not None and self.shot.best.decision.accepted:
            return None
        reasons = None if self.last is None else self.last.reasons
        return self.pose_instruction or (None if reasons is None else reasons.instruction)

    def see(self, face: SeenFace, time: float, required_zones: frozenset[str]) -> None:
        """A face of this person in a frame of `time` (Unix seconds)."""
        self.seen = time
        self.faces_seen += 1
        self.pending += face.skip is None
        self.pose_instruction = face.instruction
        self.zones += [zone for zone in face.zones if zone not in self.zones]
        self.required_zones = required_zones


@dataclass
class Counts:
    """Since the start. detected = scored + all of skipped + what is in the queue.

    energy_mj: of the faces scored; None where the model has no energy table.
    """

    detected: int = 0
    scored: int = 0
    misses: int = 0
    energy_mj: float | None = None
    skipped: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def add_record(self, record: Record, *, late: bool) -> None:
        """A face with a crop that a worker answered."""
        self.misses += late
        if record.quality.code != "ok":
            self.skipped["not_finite"] += 1
            return
        self.scored += 1
        self.depths[record.exit.depth or 0] += 1
        if record.cost.mj is not None:
            self.energy_mj = (self.energy_mj or 0.0) + record.cost.mj

    def copy(self) -> Counts:
        return Counts(
            self.detected,
            self.scored,
            self.misses,
            self.energy_mj,
            self.skipped.copy(),
            self.depths.copy(),
            self.events.copy(),
        )


def track_view(person: Person, is_open: bool) -> TrackView:
    """What the outside may know of a person."""
    best = person.shot.best
    return TrackView(
        id=person.id,
        camera=person.camera,
        started=person.started,
        seen=person.seen,
        open=is_open,
        accepted=None if best is None else best.decision.accepted,
        record=best,
        zones=tuple(person.zones),
    )


def jpeg_of(person: Person) -> bytes | None:
    """The best face, encoded once."""
    if person.jpeg is None and person.picture is not None:
        person.jpeg = to_jpeg(person.picture)
    return person.jpeg


def by_depth(depths: Mapping[int, int], exits: int) -> list[int]:
    """Counts at exit 1..exits."""
    return [depths.get(k, 0) for k in range(1, exits + 1)]
