"""Many files, several workers: everything once, in order, whatever fails."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import EngineFailed
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring import pipeline
from edge_fiqa.scoring.pipeline import AHEAD, TOGETHER, score_files
from edge_fiqa.scoring.scorer import Scorer

FACES = FakeEngine([[k, k, k, k] for k in range(50)])


def scorers(bundle, count, on_run=None):
    return [Scorer(bundle, FakeEngine(FACES.scores, on_run=on_run)) for _ in range(count)]


def read(path):
    """File "7" holds the face that scores 7; every tenth file is unreadable."""
    number = int(path.name)
    time.sleep(0.002 * (number % 3))
    if number % 10 == 9:
        return [RefusedFace(f"{path}#0", str(path), "unreadable", "damaged")]
    return [FaceCrop(f"{path}#0", str(path), FACES.faces[number])]


@pytest.mark.parametrize("workers", [1, 3])
def test_records_come_in_the_order_of_the_files(bundle, workers):
    paths = [Path(str(k)) for k in range(50)]
    groups = list(score_files(paths, read, scorers(bundle, workers), [Fixed()]))
    assert [r.source for (r,) in groups] == [str(k) for k in range(50)]
    for number, (record,) in enumerate(groups):
        expected = None if number % 10 == 9 else pytest.approx(number)
        assert record.quality.raw == expected


def test_reading_ahead_is_bounded(bundle):
    taken = []

    def paths():
        for k in range(500):
            taken.append(k)
            yield Path(str(k % 50))

    results = score_files(paths(), read, scorers(bundle, 2), [Fixed()])
    next(results)
    assert len(taken) <= AHEAD * 2 * TOGETHER
    results.close()


def test_every_worker_has_an_engine_of_its_own(bundle):
    users = {}

    def on_run(engine):
        def run(segment, faces):
            thread = threading.get_ident()
            assert users.setdefault(id(engine), thread) is not None
            assert not busy[id(engine)].locked()
            with busy[id(engine)]:
                time.sleep(0.0005)

        return run

    found = scorers(bundle, 3)
    busy = {id(s.engine): threading.Lock() for s in found}
    for scorer in found:
        scorer.engine.on_run = on_run(scorer.engine)
    list(score_files([Path(str(k)) for k in range(48)], read, found, [Fixed()]))
    assert len(users) > 1


def test_an_engine_that_fails_ends_the_run(bundle):
    def fail(segment, faces):
        raise EngineFailed("no memory")

    results = score_files([Path("1")] * 200, read, scorers(bundle, 2, fail), [Fixed()])
    with pytest.raises(EngineFailed):
        list(results)


def test_a_stop_right_after_a_picture_was_given_out_ends_its_decoding(bundle, monkeypatch):
    began, ended = threading.Event(), threading.Event()

    class StoppedPool(ThreadPoolExecutor):
        def submit(self, *arguments, **named):
            super().submit(*arguments, **named)
            assert began.wait(60)
            raise KeyboardInterrupt

    def read_until_ended(path):
        began.set()
        assert ended.wait(60)  # else nobody ended the decoding
        return read(path)

    monkeypatch.setattr(pipeline, "ThreadPoolExecutor", StoppedPool)
    monkeypatch.setattr(pipeline, "end_decoding_of", lambda workers: ended.set())
    with pytest.raises(KeyboardInterrupt):
        list(score_files([Path("1")], read_until_ended, scorers(bundle, 1), [Fixed()]))
    assert ended.is_set()
