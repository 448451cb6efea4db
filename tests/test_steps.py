"""A device that went ahead changes nothing: the same loop, the same scores, depths and reasons."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_fiqa.controller import Controller
from edge_fiqa.engines.base import Tokens
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.gate import Gate
from edge_fiqa.policy import Convergence, Fixed
from tests.calibrated import calibration_of_numbers

EXITS = 4
SCORE = st.one_of(st.floats(-3, 3, width=32), st.sampled_from([np.nan, np.inf, -np.inf]))


class Ahead(FakeEngine):
    """Runs ahead on the device. lie: a row of its own for low and high, instead of the table's."""

    lie = None

    def __init__(self, scores, **options):
        super().__init__(scores, **options)
        self.run_ahead, self.went = self._run_ahead, []

    def _run_ahead(self, steps, table, images):
        x, ran = images, []
        for number, segment in enumerate(steps):
            x, scores = super().run(segment, x)
            self.calls.pop()
            ran.append((None, scores))
            if number == len(steps) - 1:
                break
            trail = np.hstack([found for _, found in ran]).astype(np.float64)
            with np.errstate(invalid="ignore"):
                fused = (trail @ table.weights[number, : trail.shape[1]]).astype(np.float32)
            low, high = self.lie or (table.low[number], table.high[number])
            going = np.isfinite(trail).all(1) & ~((fused < low) | (fused > high))
            if not going.any():
                break
        self.went.append(len(ran))
        ran[-1] = (x, ran[-1][1])
        return ran


@pytest.fixture(scope="module")
def gate():
    return Gate.of(calibration_of_numbers(), 60, exits=(1, 2, 3, 4))


def same(first, second):
    np.testing.assert_array_equal(first.trail, second.trail)
    np.testing.assert_array_equal(first.depth, second.depth)
    np.testing.assert_array_equal(first.score, second.score)
    np.testing.assert_array_equal(first.gflops, second.gflops)
    assert first.reason == second.reason


@settings(max_examples=60)
@given(
    trail=st.lists(st.lists(SCORE, min_size=EXITS, max_size=EXITS), min_size=1, max_size=9),
    line=st.integers(0, 100),
    margin=st.floats(0.05, 4),
    batch=st.integers(1, 4),
    lie=st.sampled_from([None, None, (np.inf, -np.inf), (-np.inf, np.inf), (0.0, 1.0)]),
)
def test_scores_depths_and_reasons_are_the_hosts(gate, trail, line, margin, batch, lie):
    """Also where the device stops too early or too late."""
    asked = replace(gate, gate=line, margin=margin)
    host, device = FakeEngine(trail, max_batch=batch), Ahead(trail, max_batch=batch)
    device.lie = lie
    found = [
        Controller(engine, estimator=gate.estimator).assess(engine.faces, [Fixed(), asked])
        for engine in (host, device)
    ]
    same(*found)
    assert device.went


@settings(max_examples=40)
@given(
    st.lists(st.lists(SCORE, min_size=EXITS, max_size=EXITS), min_size=1, max_size=6),
    st.floats(0.05, 4),
)
def test_a_batch_runs_until_all_faces_are_certain_at_once(gate, trail, margin):
    """The host never has to go on. The device forgets: a face that left may keep a batch running."""
    asked = replace(gate, margin=margin)
    engine = Ahead(trail)
    controller = Controller(engine, estimator=gate.estimator)
    depth = controller.assess(engine.faces, [asked]).depth

    def certain(exit):
        scores = np.array(trail, np.float32)[:, :exit]
        whole = np.isfinite(scores).all(1)
        return asked._certain(controller.estimate(scores[whole], exit), exit).all()

    assert engine.calls == []
    # Only a score within the slack would take one step more; random ones practically never do.
    assert engine.went == [next((e for e in range(1, EXITS) if certain(e)), EXITS)]
    assert engine.went[0] >= depth.max()


def test_other_policies_ask_the_host(gate):
    engine = Ahead([[5, 5, 5, 5]])
    controller = Controller(engine, estimator=gate.estimator)
    for policies in ([Convergence()], [gate, Convergence()], [replace(gate, ranked=70)], [Fixed()]):
        controller.assess(engine.faces, policies)
    assert engine.went == []
    controller.assess(engine.faces, [gate])
    assert engine.went == [1]


def test_nothing_ran_where_the_device_refuses(gate):
    engine = Ahead([[0, 0, 0, 0]])
    engine.run_ahead = lambda steps, table, images: []
    Controller(engine, estimator=gate.estimator).assess(engine.faces, [gate])
    assert next(name for name, _ in engine.calls) == "body-01-01"


def test_time_is_shared_by_blocks(gate):
    now = [0.0]

    def later(segment, faces):
        now[0] += 1.0

    trail = [[0, 0, 0, 0]] * 2  # nothing is certain of these: four steps
    engine = Ahead(trail, on_run=later)
    asked = replace(gate, gate=50, margin=8.0)
    controller = Controller(engine, estimator=gate.estimator, clock=lambda: now[0])
    assert controller.assess(engine.faces, [asked]).ms.tolist() == [2000, 2000]


def test_tokens_are_those_behind_the_last_step_that_ran(gate):
    """Stopped too early, the engine goes on from there, with the faces that are left."""
    engine = Ahead([[9, 9, 9, 9], [0, 0, 0, 0]])
    engine.lie = (np.inf, -np.inf)
    asked = replace(gate, gate=50, margin=2.0)
    result = Controller(engine, estimator=gate.estimator).assess(engine.faces, [asked])
    assert result.depth.tolist() == [1, 4]
    assert engine.calls == [("body-02-02", 1), ("body-03-03", 1), ("tail-04-04", 1)]
    assert isinstance(
        engine.run(next(s for s in engine.segments if s.name == "body-01-01"), engine.faces)[0],
        Tokens,
    )
