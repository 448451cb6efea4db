"""Many files through several scorers: decoding and scoring side by side, records in order.

Each worker thread reads and decodes files, takes a scorer that is free, and scores their faces.
OpenCV and the engines release Python's lock, so workers run at the same time.
At most a few files per worker are in flight, whatever the length of the list.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TypeVar

from edge_fiqa.faces.costly_pictures import end_decoding_of
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import Record

TOGETHER = 8  # files a worker takes at once, their faces one batch for its engine
AHEAD = 3  # such chunks in flight per worker
END_S = 0.02  # between two looks at what is still being decoded when a run ends early


class Scores(Protocol):
    """A Scorer, or a GateService around one."""

    def score(
        self, faces: Sequence[FaceCrop | RefusedFace], policies: Sequence[Policy]
    ) -> list[Record]: ...


Readable = TypeVar("Readable")
ReadFaces = Callable[[Path], list[FaceCrop | RefusedFace]]


def score_files(
    paths: Iterable[Readable],
    read: Callable[[Readable], list[FaceCrop | RefusedFace]],
    scorers: Sequence[Scores],
    policies: Sequence[Policy],
    together: int = TOGETHER,
    readers: int | None = None,
) -> Iterator[list[Record]]:
    """The records of one file at a time, in the order of `paths`; never empty.

    paths: of files, or anything else that `read` makes faces of. readers: threads that read and decode,
    one per scorer unless stated; more where reading waits for a network.
    A file that cannot be scored gives one record with its code. EngineFailed ends the iteration.
    Whatever ends it early, Ctrl-C too, waits for no picture that takes long to decode.
    """
    readers = readers or len(scorers)
    free: SimpleQueue[Scores] = SimpleQueue()
    for scorer in scorers:
        free.put(scorer)

    stopping = threading.Event()  # an interrupted run waits for one picture of each worker
    workers: set[int] = set()

    def work(chunk: Sequence[Readable]) -> list[list[Record]]:
        workers.add(threading.get_ident())
        try:
            return work_on(chunk)
        finally:
            workers.discard(threading.get_ident())

    def work_on(chunk: Sequence[Readable]) -> list[list[Record]]:
        faces_of_files = [read(path) for path in chunk if not stopping.is_set()]
        scorer = free.get()
        try:
            records = iter(
                scorer.score([face for faces in faces_of_files for face in faces], policies)
            )
        finally:
            free.put(scorer)
        return [list(itertools.islice(records, len(faces))) for faces in faces_of_files]

    with ThreadPoolExecutor(readers, thread_name_prefix="score") as pool:
        waiting: deque[Future[list[list[Record]]]] = deque()
        try:
            for chunk in _batched(paths, together):
                waiting.append(pool.submit(work, chunk))
                if len(waiting) >= AHEAD * readers:
                    yield from waiting[0].result()
                    waiting.popleft()
            while waiting:
                yield from waiting[0].result()
                waiting.popleft()
        finally:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            _end_pictures(workers)


def _end_pictures(workers: set[int]) -> None:
    """Again and again: a worker may have been about to begin one. Who begins later reads nothing."""
    while workers:
        end_decoding_of(list(workers))
        time.sleep(END_S)


def _batched(paths: Iterable[Readable], size: int) -> Iterator[tuple[Readable, ...]]:
    rest = iter(paths)
    while chunk := tuple(itertools.islice(rest, size)):
        yield chunk
