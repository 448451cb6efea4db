"""What a worker does: one scorer, opened and warmed once, takes shard after shard and writes parts.

Nothing here knows Ray. A shard that was scored before, or half of it, is not scored again; one that two
workers score at a time is written twice under the same names, with the same scores.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from edge_fiqa.distributed.shard_pictures import (
    ParquetColumns,
    ShardPicture,
    listed_pictures,
    pictures_in,
)
from edge_fiqa.distributed.shards import PLAN_FOLDER, PictureNames, Shard, plan_file
from edge_fiqa.errors import ConfigError, EdgeFiqaError, ImageRefused
from edge_fiqa.faces.sources import FaceCrop, FaceReader, RefusedFace
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import Record
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.pipeline import TOGETHER, score_files
from edge_fiqa.scoring.scorer import Scorer
from edge_fiqa.tables.columns import records_of
from edge_fiqa.tables.places import is_uri, said
from edge_fiqa.tables.score_set import PartName, ScoreSet, files_part
from edge_fiqa.types import Array, Bytes

MOST_TRIES = 10
BATCHES = (TOGETHER, 16, 32)
READERS, READERS_OF_A_NETWORK = 1, 8
"""Threads of a worker that read and decode."""


class ShardDone(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of a shard. pictures, faces (by code): that this run scored of it.

    landmarks: whether the worker has used any name of the landmark file. worker: which one. drift: the
    counts of its monitor since it began, () without one. suspended: what its audit says. error: why the
    run cannot go on.
    """

    name: str
    pictures: int = 0
    faces: dict[str, int] = {}
    worker: str = ""
    drift: tuple[float, ...] = ()
    suspended: str | None = None
    landmarks: bool = False
    error: str | None = None


@dataclass(frozen=True)
class WorkerParts:
    """What a worker scores with: opened once in its process."""

    scorer: Scorer
    service: Scorer | GateService
    reader: FaceReader
    policies: Sequence[Policy]


class ShardScorer:
    """parts: what it scores with. output: URI of the set. per_file: pictures of a part.

    The batch is the one of BATCHES that is fastest here, measured, among those that change no score.
    """

    def __init__(
        self, parts: WorkerParts, output: str, per_file: int, columns: ParquetColumns
    ) -> None:
        self.parts, self.columns, self.per_file = parts, columns, per_file
        self.set = ScoreSet(output)
        self.name = (
            f"{os.uname().nodename}:{os.getpid()}" if os.name == "posix" else str(os.getpid())
        )
        timed = any(policy.needs_ms for policy in parts.policies)
        self.together = 1 if timed else best_batch(parts.scorer, parts.policies)
        parts.service.prepare(parts.policies, self.together)

    def score(self, shard: Shard) -> ShardDone:
        """Score what is missing of a shard. What ends the run stands in `error`."""
        try:
            self._count_try(shard)
            pictures, faces = self._score(shard)
        except EdgeFiqaError as exc:
            return ShardDone(name=shard.name, error=str(exc))
        scorer, service = self.parts.scorer, self.parts.service
        landmarks = self.parts.reader.landmarks
        return ShardDone(
            name=shard.name,
            pictures=pictures,
            faces=dict(faces),
            worker=self.name,
            drift=scorer.monitor.counts() if scorer.monitor else (),
            suspended=service.audit.suspended if isinstance(service, GateService) else None,
            landmarks=landmarks is not None and bool(landmarks.used),
        )

    def _count_try(self, shard: Shard) -> None:
        """Ray tries a shard for ever that kills its workers. Raises ConfigError after MOST_TRIES."""
        place = self.set.place.child(f"{PLAN_FOLDER}/tries-{shard.kind}-{shard.key}-{shard.first}")
        try:
            tries = int(place.read()) if place.info().is_file else 0
            if tries >= MOST_TRIES:
                raise ConfigError(
                    f"{shard.name}: {tries} workers died over it; take out the picture that kills them"
                )
            place.write(str(tries + 1).encode())
        except OSError as exc:
            raise self.set.unwritable(exc) from exc

    def _score(self, shard: Shard) -> tuple[int, Counter[str]]:
        if shard.kind == "again":
            return self._score_again(shard)
        if shard.kind == "files":
            return self._score_files(shard)
        there, whole = self._parts_there(shard)
        # of this run, by a worker that ended before it could say so
        pictures, faces = self._counted(part.file for part in there[shard.begun :])
        if whole:
            return pictures, faces
        first = len(there)
        rest = itertools.islice(pictures_in(shard, self.columns), first * self.per_file, None)
        for number, (records, last) in enumerate(self._parts(rest), first):
            self.set.write(shard.part(number, last).file, records)
            pictures += len({record.source for record in records})
            faces.update(record.quality.code for record in records)
        return pictures, faces

    def _counted(self, files: Iterable[str]) -> tuple[int, Counter[str]]:
        """Pictures, and faces by code, of parts that are written."""
        pictures, faces = 0, Counter[str]()
        for file in files:
            table = self.set.table(file, ["source", "quality"])
            pictures += len(table["source"].unique())
            faces.update(quality["code"] for quality in table["quality"].to_pylist())
        return pictures, faces

    def _parts(self, pictures: Iterable[ShardPicture]) -> Iterator[tuple[list[Record], bool]]:
        """The records of `per_file` pictures at a time, and whether they are the last; never none."""
        scored = self._records(pictures)
        part = list(itertools.islice(scored, self.per_file))
        while True:
            following = list(itertools.islice(scored, 1)) if len(part) == self.per_file else []
            yield [record for records in part for record in records], not following
            if not following:
                return
            part = following + list(itertools.islice(scored, self.per_file - 1))

    def _parts_there(self, shard: Shard) -> tuple[list[PartName], bool]:
        """The parts of a shard that are written, up to the first that is missing; whether all are."""
        there: list[PartName] = []
        while True:
            part = shard.part(len(there))
            if self.set.holds((last := part._replace(last=True)).file):
                return [*there, last], True
            if not self.set.holds(part.file):
                return there, False
            there.append(part)

    def _score_files(self, shard: Shard) -> tuple[int, Counter[str]]:
        file = files_part(shard.key)
        if self.set.holds(file):  # of this run, as above
            return self._counted([file])
        groups = list(self._records(*self._listed(plan_file(shard))))
        records = [record for group in groups for record in group]
        self.set.write(file, records)
        return len(groups), Counter(record.quality.code for record in records)

    def _score_again(self, shard: Shard) -> tuple[int, Counter[str]]:
        """Only what was unreadable; a new result takes the place of the failure, the rest stays."""
        file = files_part(shard.key)
        groups = self._records(*self._listed(plan_file(shard)))
        new = {group[0].source: group for group in groups}
        after: list[Record] = []
        replaced: set[str] = set()
        for record in records_of(self.set.table(file)):
            group = new.get(record.source)
            if group is None:
                after.append(record)
            elif record.source not in replaced:  # a try before this one may have put several there
                replaced.add(record.source)
                after += group
        self.set.write(file, after)
        return len(new), Counter(r.quality.code for group in new.values() for r in group)

    def _listed(self, file: str) -> tuple[Iterator[ShardPicture], int]:
        """The pictures of a list in the plan, and the threads to read them with."""
        place = self.set.place.child(file)
        try:
            listed = msgspec.json.decode(place.read(), type=PictureNames)
        except (OSError, msgspec.MsgspecError) as exc:
            raise ConfigError(f"{place.name} cannot be read: {said(exc)}") from exc
        network = any(is_uri(name) for name in listed.names[:1])
        return listed_pictures(listed), READERS_OF_A_NETWORK if network else READERS

    def _records(
        self, pictures: Iterable[ShardPicture], readers: int = READERS
    ) -> Iterator[list[Record]]:
        """By picture, in order."""
        parts, together = self.parts, self.together
        return score_files(pictures, self._read, [parts.service], parts.policies, together, readers)

    def _read(self, picture: ShardPicture) -> list[FaceCrop | RefusedFace]:
        name, reader = picture.name, self.parts.reader
        if picture.path is not None:
            return reader.faces_of(picture.path)
        if picture.read is None:
            return [RefusedFace(f"{name}#0", name, "unreadable", picture.refusal or "")]
        try:
            data = picture.read()
        except FileNotFoundError as exc:
            reason = f"{name}: {said(exc)}"
            return [RefusedFace(f"{name}#0", name, "unreadable", reason)]
        except ImageRefused as exc:
            return [RefusedFace(f"{name}#0", name, exc.code, str(exc))]
        except OSError as exc:  # a network that fails now says nothing of the picture
            raise ConfigError(f"{name} cannot be read: {said(exc)}") from exc
        return reader.faces_in(data, name)


def best_batch(scorer: Scorer, policies: Sequence[Policy]) -> int:
    """How many faces a batch has at most: the fastest of BATCHES, each of which is tried twice.

    One whose scores are not those of TOGETHER to the last digit is not taken: a result must not depend
    on where it was computed.
    """
    faces = synthetic_faces(max(BATCHES), seed=1)
    expected = _trails(scorer, faces, policies, TOGETHER)
    seconds = {}
    for batch in BATCHES:
        trails = _trails(scorer, faces, policies, batch)  # loads what it needs
        if np.array_equal(trails, expected, equal_nan=True):
            begin = time.perf_counter()
            _trails(scorer, faces, policies, batch)
            seconds[batch] = time.perf_counter() - begin
    return min(seconds, key=lambda batch: seconds[batch])


def _trails(scorer: Scorer, faces: Bytes, policies: Sequence[Policy], batch: int) -> Array:
    starts = range(0, len(faces), batch)
    return np.concatenate([scorer.assess(faces[i : i + batch], policies).trail for i in starts])
