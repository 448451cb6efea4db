"""Makes events of what was seen and scored, in one thread.

Other threads call `frame_seen`, `person_left`, `face_scored`, `face_lost` and `face_pushed`.
These only put a change into a queue; the builder's own thread applies it.
A person who left may have faces in the queue. The track ends once the last of them is scored or
lost, so that its `end` event has the best face.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import msgspec

from edge_fiqa.errors import EngineFailed, Overloaded, counted
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.config.gateway import BestShotConfig
from edge_fiqa.gateway.events.event import EventType, Sink
from edge_fiqa.gateway.events.known_people import KnownPeople
from edge_fiqa.gateway.events.open_tracks import OpenTracks
from edge_fiqa.gateway.events.outgoing import OutgoingEvent, outgoing_event
from edge_fiqa.gateway.events.person import Person, jpeg_of
from edge_fiqa.gateway.queue.detector_loop import FrameFaces
from edge_fiqa.gateway.queue.face_queue import QueuedFace
from edge_fiqa.gateway.tracks.face_finder import SkipReason
from edge_fiqa.gateway.tracks.followed_people import EndReason
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes

log = logging.getLogger("edge_fiqa.gateway")

WARNING_FACES = 5
"""The warnings get at most so many faces of one person.

More faces of the same person say little new, and would count for more than those of other people.
"""
HEARTBEAT_S = 0.5

StateChange = Callable[[], Sequence[OutgoingEvent]]
SeeFace = Callable[[str, Bytes, Record], None]


class EventBuilder(KnownPeople):
    """The people in front of all cameras, and the events about them.

    see_face: called with the first crops of every person, for the warnings.
    open_tracks: where open tracks are noted; None: a kill leaves them without their `end`.
    heartbeat: monotonic time of the last sign of life.
    """

    def __init__(
        self,
        best_shot: BestShotConfig,
        sinks: Sequence[Sink],
        see_face: SeeFace = lambda camera, crop, record: None,
        open_tracks: OpenTracks | None = None,
    ) -> None:
        super().__init__()
        self.best_shot, self.sinks, self._see_face = best_shot, sinks, see_face
        self.heartbeat = time.monotonic()
        self._changes: SimpleQueue[StateChange | None] = SimpleQueue()
        self._open_tracks = open_tracks
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    # What happened, from any thread.

    def frame_seen(self, frame_faces: FrameFaces) -> None:
        self._changes.put(lambda: self._add_frame(frame_faces))

    def person_left(self, track: str, reason: EndReason) -> None:
        """Note that no frame shows this person any more. Faces of theirs may still be in the queue."""
        self._changes.put(lambda: self._note_left(track, reason))

    def face_scored(self, face: QueuedFace, record: Record, scored_at: float) -> None:
        """scored_at: monotonic seconds."""
        record = msgspec.structs.replace(record, frame_time=face.time)
        if face.answer is not None:
            face.answer.set_result(record)
        self._changes.put(lambda: self._add_record(face, record, scored_at))

    def face_lost(self, face: QueuedFace, reason: SkipReason) -> None:
        if face.answer is not None:
            face.answer.set_exception(
                EngineFailed(
                    "the engine failed on this face; the engine is tried again with the next one"
                )
                if reason == "engine"
                else Overloaded("the answer would come after its deadline")
            )
        self._changes.put(lambda: self._lose(face, reason))

    def face_pushed(self) -> None:
        """Count a face that a client sent: no camera detected it."""
        self._changes.put(self._add_pushed)

    def start(self) -> None:
        """First come the ends that an earlier process, which was killed, left out."""
        self._changes.put(self._missing_ends)
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Apply every change so far, end every track that has not ended, and end the thread."""
        self._changes.put(self._end_all)
        self._changes.put(None)
        self._thread.join(timeout_s)

    # What the builder's own thread does.

    def _run(self) -> None:
        while True:
            self.heartbeat = time.monotonic()
            try:
                change = self._changes.get(timeout=HEARTBEAT_S)
            except Empty:
                continue
            if change is None:
                return
            with self._lock:
                events = change()
            for outgoing in events:  # outside the lock: a sink may read the state
                self._publish(outgoing)

    def _publish(self, outgoing: OutgoingEvent) -> None:
        event, noted = outgoing.event, self._open_tracks
        if noted is not None and event.type != "end":
            noted.note(event)
        for sink in self.sinks:
            sink.publish(event, outgoing.snapshot)
        if noted is not None and event.type == "end":
            noted.note(event)

    def _missing_ends(self) -> Sequence[OutgoingEvent]:
        ends = [] if self._open_tracks is None else self._open_tracks.missing_ends()
        self.counts.events["end"] += len(ends)
        if ends:
            tracks = counted(len(ends), "track was", "tracks were")
            log.info("%s open when the gateway was killed, and ended now", tracks)
        return [OutgoingEvent(event, None) for event in ends]

    def _add_frame(self, frame_faces: FrameFaces) -> Sequence[OutgoingEvent]:
        frame, faces, tracks = frame_faces.frame, frame_faces.faces, frame_faces.tracks
        self.counts.detected += len(faces)
        self._faces[frame.camera] = [
            (track, face.box, face.zones) for track, face in zip(tracks, faces, strict=True)
        ]
        self._by_zone[frame.camera] = bool(frame_faces.required_zones)
        outgoing: list[OutgoingEvent] = []
        for face, track in zip(faces, tracks, strict=True):
            if track is None or face.skip is not None:
                self.counts.skipped[face.skip or "unconfirmed"] += 1
            if track is not None:
                person = self._people.setdefault(
                    track, Person(track, frame.camera, frame.time, frame.time)
                )
                person.see(face, frame.time, frame_faces.required_zones)
                if person.announced and (kind := person.shot.announce()) is not None:
                    outgoing.append(self._report(person, kind, frame.arrived))
        return outgoing

    def _add_pushed(self) -> Sequence[OutgoingEvent]:
        self.counts.detected += 1
        return ()

    def _add_record(
        self, face: QueuedFace, record: Record, scored_at: float
    ) -> Sequence[OutgoingEvent]:
        if not isinstance(face.input, FaceCrop):
            reason = "too_small" if face.input.code == "too_small" else "no_landmarks"
            self.counts.skipped[reason] += 1
            return ()
        self.counts.add_record(record, late=scored_at > face.deadline)
        if face.track is None or face.camera is None:
            return ()
        person = self._people[face.track]
        person.pending -= 1
        if person.faces_scored < WARNING_FACES:
            self._see_face(face.camera, face.input.crop, record)
        outgoing: list[OutgoingEvent] = []
        if record.quality.code == "ok":
            person.faces_scored += 1
            person.last = record
            outgoing += self._offer(person, face, record)
        return [*outgoing, *self._maybe_end(person)]

    def _offer(self, person: Person, face: QueuedFace, record: Record) -> Sequence[OutgoingEvent]:
        """Keep the face if it is the best of its person, and report it if it is clearly better."""
        quality = record.quality.scalar
        if quality is not None and quality < self.best_shot.floor_of(face.detector_score):
            return ()
        kind = person.shot.offer(record, self.best_shot.clearly, announced=person.announced)
        if person.shot.best is record:
            person.picture, person.jpeg = face.picture, None
            if person.shot.is_good(self.best_shot.good_quality):
                self.good_tracks.add(person.id)
        return () if kind is None else [self._report(person, kind, face.arrived)]

    def _report(self, person: Person, kind: EventType, arrived: float) -> OutgoingEvent:
        """arrived: monotonic seconds, of the frame that is the cause."""
        latency_s = time.monotonic() - arrived
        self._latencies.append(latency_s)
        return self._outgoing(person, kind, latency_s)

    def _lose(self, face: QueuedFace, reason: SkipReason) -> Sequence[OutgoingEvent]:
        self.counts.skipped[reason] += 1
        if face.track is None:
            return ()
        person = self._people[face.track]
        person.pending -= 1
        return self._maybe_end(person)

    def _note_left(self, track: str, reason: EndReason) -> Sequence[OutgoingEvent]:
        person = self._people.get(track)
        if person is None:  # it ended before a look showed it
            return ()
        person.end_reason = reason
        return self._maybe_end(person)

    def _maybe_end(self, person: Person) -> Sequence[OutgoingEvent]:
        if person.end_reason is None or person.pending > 0:
            return ()
        del self._people[person.id]
        self.good_tracks.discard(person.id)
        if not person.announced:
            return ()
        end = self._outgoing(person, "end", None)
        jpeg_of(person)  # encode now, so that the large picture can be freed
        person.picture = None
        self._ended.append(person)
        return [end]

    def _end_all(self) -> Sequence[OutgoingEvent]:
        outgoing: list[OutgoingEvent] = []
        for person in list(self._people.values()):
            person.end_reason, person.pending = person.end_reason or "shutdown", 0
            outgoing += self._maybe_end(person)
        return outgoing

    def _outgoing(self, person: Person, kind: EventType, latency_s: float | None) -> OutgoingEvent:
        self.counts.events[kind] += 1
        return outgoing_event(person, kind, latency_s)
