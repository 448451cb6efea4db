"""The story of every person: what was seen and scored becomes events. One thread tells all of it.

Others call `looked`, `left`, `answered` and `lost` from their threads; these only note what happened.
A track that was left ends once the last of its faces is answered or lost, so its `end` has its best.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import msgspec
import numpy as np

from edge_fiqa.errors import EngineFailed, Overloaded
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.config.gateway import BestShotConfig
from edge_fiqa.gateway.events.event import Event, EventType, Sink
from edge_fiqa.gateway.events.person import Counts, Person, jpeg_of, track_view
from edge_fiqa.gateway.queue.detector_loop import FrameFaces, Why
from edge_fiqa.gateway.queue.face_queue import QueuedFace
from edge_fiqa.gateway.tracks.face_finder import Skip
from edge_fiqa.gateway.view import FaceView, TrackView
from edge_fiqa.record import Record
from edge_fiqa.types import Box, Bytes

REMEMBERED = 200  # tracks that ended, which can still be asked for
LATENCIES = 4096  # of the latest events, of which percentiles are taken
INDEPENDENT = (
    5  # faces of one person that the warnings see: more say little new, and outvote others
)
BEAT_S = 0.5

Note = Callable[[], Sequence["Told"]]
SeeFace = Callable[[str, Bytes, Record], None]


@dataclass(frozen=True)
class Told:
    """An event on its way to the sinks."""

    event: Event
    snapshot: bytes | None


class EventBuilder:
    """see_face is shown the first crops of every person, for the warnings.

    good: the tracks that have a good shot.
    """

    def __init__(
        self,
        best_shot: BestShotConfig,
        sinks: Sequence[Sink],
        see_face: SeeFace = lambda camera, crop, record: None,
    ) -> None:
        self.best_shot, self.sinks, self._see_face = best_shot, sinks, see_face
        self.good: set[str] = set()
        self.counts = Counts()
        self.beat = time.monotonic()
        self._people: dict[str, Person] = {}
        self._gone: deque[Person] = deque(maxlen=REMEMBERED)
        self._faces: dict[str, list[tuple[str | None, Box]]] = {}
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._notes: SimpleQueue[Note | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="story", daemon=True)

    # What others note, from any thread.

    def looked(self, looked: FrameFaces) -> None:
        self._notes.put(lambda: self._on_looked(looked))

    def left(self, track: str, why: Why) -> None:
        self._notes.put(lambda: self._on_left(track, why))

    def answered(self, job: QueuedFace, record: Record, at: float) -> None:
        """at: monotonic seconds of the answer."""
        record = msgspec.structs.replace(record, frame_time=job.time)
        if job.answer is not None:
            job.answer.set_result(record)
        self._notes.put(lambda: self._on_answered(job, record, at))

    def lost(self, job: QueuedFace, why: Skip) -> None:
        if job.answer is not None:
            failed = why == "engine"
            job.answer.set_exception(
                EngineFailed("the engine failed; it is tried again")
                if failed
                else Overloaded("the answer would come after its deadline")
            )
        self._notes.put(lambda: self._on_lost(job, why))

    def pushed(self) -> None:
        """One face that no camera found."""
        self._notes.put(self._on_pushed)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Tell everything noted so far, and the end of every track that has not ended."""
        self._notes.put(self._end_all)
        self._notes.put(None)
        self._thread.join(timeout_s)

    # What others read, from any thread.

    def totals(self) -> tuple[Counts, tuple[float, float] | None]:
        """A copy of the counts, and p50 and p99 of the seconds from frame to event."""
        with self._lock:
            counts = self.counts.copy()
            recent = list(self._latencies)
        if not recent:
            return counts, None
        p50, p99 = np.quantile(recent, (0.5, 0.99)).tolist()
        return counts, (p50, p99)

    def tracks(self) -> list[TrackView]:
        """Open ones and those ended lately, the newest first."""
        with self._lock:
            return [
                *(track_view(person, True) for person in reversed(self._people.values())),
                *(track_view(person, False) for person in reversed(self._gone)),
            ]

    def faces(self, camera: str) -> list[FaceView]:
        """Those in the camera's latest frame."""
        with self._lock:
            found = []
            for track, box in self._faces.get(camera, ()):
                person = self._people.get(track) if track is not None else None
                quality, depth = (None, None) if person is None else person.last
                found.append(FaceView(track or "", box, quality, depth))
            return found

    def snapshot(self, track: str) -> bytes | None:
        """The best face of a track as JPEG."""
        with self._lock:
            person = self._people.get(track) or next(
                (gone for gone in self._gone if gone.id == track), None
            )
            return None if person is None else jpeg_of(person)

    # What the story's own thread does.

    def _run(self) -> None:
        while True:
            self.beat = time.monotonic()
            try:
                note = self._notes.get(timeout=BEAT_S)
            except Empty:
                continue
            if note is None:
                return
            with self._lock:
                told = note()
            for one in told:  # outside the lock: a sink may look at the state
                for sink in self.sinks:
                    sink.publish(one.event, one.snapshot)

    def _on_looked(self, looked: FrameFaces) -> Sequence[Told]:
        frame = looked.frame
        self.counts.found += len(looked.faces)
        self._faces[frame.camera] = [
            (track, face.box) for track, face in zip(looked.tracks, looked.faces, strict=True)
        ]
        for face, track in zip(looked.faces, looked.tracks, strict=True):
            if track is None or face.skip is not None:
                self.counts.skipped[face.skip or "unconfirmed"] += 1
            if track is None:
                continue
            person = self._people.get(track)
            if person is None:
                person = Person(track, frame.camera, frame.time, frame.time)
                self._people[track] = person
            person.seen = frame.time
            person.faces_seen += 1
            person.pending += face.skip is None
        return ()

    def _on_pushed(self) -> Sequence[Told]:
        self.counts.found += 1
        return ()

    def _on_answered(self, job: QueuedFace, record: Record, at: float) -> Sequence[Told]:
        if not isinstance(job.face, FaceCrop):
            self._skip("too_small" if job.face.code == "too_small" else "no_landmarks")
            return ()
        if record.quality.code != "ok":
            self._skip("not_finite")
        else:
            self.counts.scored += 1
            self.counts.depths[record.exit.depth or 0] += 1
            if record.cost.mj is not None:
                self.counts.energy_mj = (self.counts.energy_mj or 0.0) + record.cost.mj
        self.counts.misses += at > job.deadline
        if job.track is None or job.camera is None:
            return ()
        person = self._people[job.track]
        person.pending -= 1
        if person.faces_scored < INDEPENDENT:
            self._see_face(job.camera, job.face.crop, record)
        told: list[Told] = []
        if record.quality.code == "ok":
            person.faces_scored += 1
            person.last = (record.quality.scalar, record.exit.depth)
            told += self._offer(person, job, record)
        return [*told, *self._maybe_end(person)]

    def _offer(self, person: Person, job: QueuedFace, record: Record) -> Sequence[Told]:
        kind = person.shot.offer(record, self.best_shot.clearly)
        if person.shot.best is record:
            person.picture, person.jpeg = job.surroundings, None
            if person.shot.is_good(self.best_shot.enough):
                self.good.add(person.id)
        if kind is None:
            return ()
        latency_s = time.monotonic() - job.arrived
        self._latencies.append(latency_s)
        return [self._tell(person, kind, latency_s)]

    def _on_lost(self, job: QueuedFace, why: Skip) -> Sequence[Told]:
        self._skip(why)
        if job.track is None:
            return ()
        person = self._people[job.track]
        person.pending -= 1
        return self._maybe_end(person)

    def _on_left(self, track: str, why: Why) -> Sequence[Told]:
        person = self._people[track]
        person.leaving = why
        return self._maybe_end(person)

    def _skip(self, why: Skip) -> None:
        self.counts.skipped[why] += 1

    def _maybe_end(self, person: Person) -> Sequence[Told]:
        if person.leaving is None or person.pending > 0:
            return ()
        del self._people[person.id]
        self.good.discard(person.id)
        told = self._tell(person, "end", None)
        jpeg_of(person)
        person.picture = None
        self._gone.append(person)
        return [told]

    def _end_all(self) -> Sequence[Told]:
        told: list[Told] = []
        for person in list(self._people.values()):
            person.leaving, person.pending = person.leaving or "shutdown", 0
            told += self._maybe_end(person)
        return told

    def _tell(self, person: Person, kind: EventType, latency_s: float | None) -> Told:
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
            reason=person.leaving if kind == "end" else None,
        )
        person.sequence += 1
        self.counts.events[kind] += 1
        return Told(event, None if kind == "end" else jpeg_of(person))
