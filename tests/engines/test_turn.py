"""An engine serves one thread at a time: others wait or are refused; none gets another's scores."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_fiqa.engines import BACKENDS
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.engines.turn import Turn
from edge_fiqa.errors import EngineFailed
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Segment
from tests.engines.conftest import in_fork
from tests.engines.test_contract import open_or_skip

FIRST, SECOND = Segment(1, 1), Segment(2, 2)


@pytest.fixture(scope="module", params=[*BACKENDS, "fake"])
def engine(request, bundle):
    if request.param == "fake":
        yield FakeEngine(np.arange(24).reshape(6, 4))
    else:
        with open_or_skip(bundle, request.param, threads=1) as opened:
            yield opened


@pytest.fixture
def images(engine, faces):
    return engine.faces if isinstance(engine, FakeEngine) else faces


def on_threads(count, work, items):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, items))


def test_each_thread_gets_the_scores_of_its_face_or_an_error(engine, images):
    expected = [engine.run(FIRST, images[row : row + 1])[1] for row in range(len(images))]

    def score(row):
        try:
            return engine.run(FIRST, images[row : row + 1])[1]
        except EngineFailed as exc:
            assert "another thread" in str(exc)  # noqa: PT017, both ends are right
            return None

    for row, scores in zip(
        list(range(6)) * 20, on_threads(4, score, list(range(6)) * 20), strict=True
    ):
        if scores is not None:
            np.testing.assert_array_equal(scores, expected[row])


def test_passes_of_several_segments_take_turns(engine, images):
    expected = [all_exits(engine, images[row : row + 1]) for row in range(6)]
    rows = list(range(6)) * 10
    trails = on_threads(4, lambda row: all_exits(engine, images[row : row + 1]), rows)
    np.testing.assert_array_equal(trails, [expected[row] for row in rows])


def test_controllers_may_share_an_engine(engine, images):
    controllers = [Controller(engine), Controller(engine)]
    expected = [controllers[0].assess(images[row : row + 1]).score[0] for row in range(6)]

    def score(number):
        row = number % 6
        return controllers[number % 2].assess(images[row : row + 1]).score[0]

    assert on_threads(4, score, range(60)) == expected * 10


@pytest.mark.parametrize("backend", ["ov", "ort"])
def test_tokens_that_were_overwritten_are_refused(bundle, faces, backend):
    with open_or_skip(bundle, backend, threads=1) as engine:
        tokens = engine.run(FIRST, faces[:1]).tokens
        kept = engine.keep(tokens, np.array([0]))
        engine.run(FIRST, faces[1:2])
        with pytest.raises(EngineFailed, match=r"overwritten.*thread"):
            engine.run(SECOND, tokens)
        with pytest.raises(EngineFailed, match="overwritten"):
            engine.keep(tokens, np.array([0]))
        scores = engine.run(SECOND, kept)[1]  # a copy: still the first face
        np.testing.assert_allclose(scores, all_exits(engine, faces[:1])[:, 1:2], atol=1e-5)


def test_a_second_thread_is_refused_at_once():
    inside, go_on = threading.Event(), threading.Event()

    def wait(segment, faces):
        inside.set()
        assert go_on.wait(100)

    engine = FakeEngine([[1, 2]], on_run=wait)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.run, FIRST, engine.faces)
        assert inside.wait(100)
        for call in (lambda: engine.run(FIRST, engine.faces), lambda: engine.keep(None, [0])):
            with pytest.raises(EngineFailed, match=r"another thread .* share a Scorer"):
                call()
        go_on.set()
        assert running.result()[1] == [[1]]
    assert engine.run(FIRST, engine.faces)[1] == [[1]]


def test_closing_waits_for_the_thread_that_computes(engine_that_waits):
    engine, inside, go_on = engine_that_waits
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(engine.run, FIRST, engine.faces)
        assert inside.wait(100)
        closing = pool.submit(engine.close)
        assert not closing.done()
        go_on.set()
        assert running.result()[1] == [[1]]
        closing.result(20)
    with pytest.raises(EngineFailed, match="closed"):
        engine.run(FIRST, engine.faces)


@pytest.fixture
def engine_that_waits():
    inside, go_on = threading.Event(), threading.Event()

    def wait(segment, faces):
        inside.set()
        assert go_on.wait(100)

    return FakeEngine([[1, 2]], on_run=wait), inside, go_on


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_engine_refuses(bundle, faces, backend):
    engine = open_or_skip(bundle, backend, threads=1)
    tokens = engine.run(FIRST, faces[:1]).tokens
    engine.close()
    for call in (
        lambda: engine.run(FIRST, faces[:1]),
        lambda: engine.run(SECOND, tokens),
        lambda: engine.keep(tokens, np.array([0])),
        lambda: all_exits(engine, faces),
    ):
        with pytest.raises(EngineFailed, match="closed"):
            call()


def test_a_forked_child_is_refused_and_ends(engine, images):
    """Also while a thread of the parent computes: its lock is never released in the child."""
    assert "before a fork" in in_fork(lambda: engine.run(FIRST, images[:1]))
    with engine.turn:
        assert "before a fork" in in_fork(lambda: all_exits(engine, images))
    assert in_fork(engine.close) == "None"
    engine.run(FIRST, images[:1])  # the parent's is as it was


def test_a_turn_is_given_back_after_a_failure():
    turn = Turn()
    for enter in (turn.take, turn.__enter__):
        enter()
        turn.give_back()
    with pytest.raises(ZeroDivisionError), turn:
        raise ZeroDivisionError
    assert on_threads(1, lambda _: turn.take() or turn.give_back(), [0]) == [None]
    assert turn.end()
    assert not turn.end()
    with pytest.raises(EngineFailed, match="closed"):
        turn.take()
