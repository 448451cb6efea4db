"""Threads that share a Scorer, or an engine, of a CUDA device that is not there.

The made-up devices are strict where real ones are: objects belong to a thread and a stream, work is
done late, and a buffer read too early holds something else. So mixed calls give wrong scores or fail.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from edge_fiqa import Scorer
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.torch_ import engine as pt
from edge_fiqa.errors import EngineFailed
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.policies.policy import Fixed
from tests.engines.conftest import extract, fakes, torch_gpu
from tests.engines.test_contract import ATOL

FACES = synthetic_faces(12, seed=3)
THREADS, ROUNDS = 4, 5


@pytest.fixture(scope="module", params=["trt", "pt"])
def backend(request, tmp_path_factory):
    """The backend, on a device that stands in for a GPU."""
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        patched.setenv("EDGE_FIQA_CACHE", str(tmp_path_factory.mktemp("plans")))
        if request.param == "trt":
            world = fakes.install(patched, fakes.World(), extract.load("10.3"))
        else:
            stack.enter_context(patch.object(pt, "find_cuda", torch_gpu.Gpu))
        yield request.param
        if request.param == "trt":
            assert world.complaints == []
            assert world.used() == 0


@pytest.fixture(scope="module", params=[1, 3], ids=["one engine", "three engines"])
def scorer(request, bundle, backend):
    with Scorer.open(bundle, backend=backend, workers=request.param) as opened:
        opened.prepare()
        yield opened


@pytest.fixture(scope="module")
def records(scorer):
    """Of one thread."""
    return [without_ms(scorer.score_face(face)) for face in FACES]


def without_ms(record):
    return msgspec.structs.replace(record, cost=msgspec.structs.replace(record.cost, ms=None))


def on_threads(work, items):
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


def test_the_device_is_the_one_that_stands_in(bundle, backend):
    with open_engine(bundle, backend) as engine:
        assert engine.backend == backend
        assert engine.device != "cpu"


def test_one_thread_gets_the_scores_of_the_reference(bundle, scorer):
    with open_engine(bundle, "ort") as engine:
        reference = all_exits(engine, FACES)
    trail = scorer.assess(FACES, [Fixed(4)]).trail
    np.testing.assert_allclose(trail, reference, atol=ATOL["fp32"])
    full = reference[:, -1].round(4).tolist()
    assert len(set(full)) == len(full)  # no face's score passes for another


def test_threads_get_the_scores_of_their_faces(scorer, records):
    together = on_threads(scorer.score_face, list(FACES) * ROUNDS)
    assert [without_ms(record) for record in together] == records * ROUNDS


def test_asyncio_gets_the_scores_of_its_faces(scorer, records):
    async def all_at_once():
        calls = (asyncio.to_thread(scorer.score_face, face) for face in list(FACES) * ROUNDS)
        return await asyncio.gather(*calls)

    assert [without_ms(record) for record in asyncio.run(all_at_once())] == records * ROUNDS


def test_early_exits_and_batches_beside_each_other(scorer):
    kinds = [(FACES[a : a + n], [Fixed(k)]) for a in (0, 5) for n in (1, 3, 7) for k in (1, 3, 4)]
    alone = [scorer.assess(*kind).trail for kind in kinds]
    together = on_threads(lambda kind: scorer.assess(*kind).trail, kinds * 2)
    for trail, other in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal(trail, other)


def test_an_engine_without_a_scorer_gives_right_scores_or_refuses(bundle, backend):
    """Segments of several threads on one engine: where calls mix, the refusal names the remedy."""
    with open_engine(bundle, backend) as engine:
        segments = route_to(engine.segments, 4, in_steps=True)
        expected = [through(engine, segments, face) for face in FACES[:4]]
        start, outcomes = threading.Barrier(THREADS), []

        def hammer(place):
            start.wait(100)
            for _ in range(20):
                try:
                    outcomes.append((place, through(engine, segments, FACES[place])))
                except EngineFailed as refusal:
                    outcomes.append((place, str(refusal)))

        on_threads(hammer, range(THREADS))
        assert through(engine, segments, FACES[0]) == expected[0]  # and goes on afterwards
    for place, outcome in outcomes:
        if isinstance(outcome, str):
            assert "another thread is using this engine" in outcome or "overwritten" in outcome
        else:
            assert outcome == expected[place]
    assert len(outcomes) == THREADS * 20


def test_a_second_thread_is_refused_with_the_remedy(bundle, backend):
    with open_engine(bundle, backend) as engine, engine.turn, ThreadPoolExecutor(1) as pool:
        (segment, *_) = route_to(engine.segments, 1, in_steps=True)
        with pytest.raises(EngineFailed, match=r"another thread .* share a Scorer"):
            pool.submit(engine.run, segment, FACES[:1]).result(20)


def test_closing_while_threads_score_frees_the_device(bundle, backend):
    scorer = Scorer.open(bundle, backend=backend, workers=2)
    expected = [scorer.score_face(face).quality.raw for face in FACES]
    outcomes = []

    def score(place):
        try:
            outcomes.append(scorer.score_face(FACES[place]).quality.raw == expected[place])
        except EngineFailed as refusal:
            outcomes.append("is closed" in str(refusal))
        if len(outcomes) == 10:
            scorer.close()

    on_threads(score, list(range(len(FACES))) * ROUNDS)
    assert outcomes == [True] * len(outcomes)
    with pytest.raises(EngineFailed, match="this Scorer is closed"):
        scorer.score_face(FACES[0])


def through(engine, segments, face):
    """Raw scores of the full model's last segment, and those before it."""
    x, scores = face[None], []
    for segment in segments:
        x, some, _ = engine.run(segment, x)
        scores += some[0].tolist()
    return scores
