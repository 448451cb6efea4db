"""The loop on planned scores: who leaves where, why, and at what cost."""

import numpy as np
import pytest

from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.exits.route import segments_for
from edge_fiqa.policies.policy import Budget, Convergence, Deadline, Fixed
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Segment

STILL = [5, 5, 5, 5]
LATE = [1, 5, 9, 9]
RESTLESS = [0, 9, 0, 9]


class Clock:
    """Seconds that pass only when a segment runs: `ms` per face."""

    def __init__(self, ms: float = 1.0) -> None:
        self.now, self.ms = 0.0, ms

    def __call__(self) -> float:
        return self.now

    def tick(self, segment, faces) -> None:
        self.now += 1e-3 * self.ms * faces


class StaticBatches(FakeEngine):
    """Fills batches up to the next power of two, as OpenVINO's and TensorRT's engines do."""

    def computed(self, faces):
        return 1 << (faces - 1).bit_length()


class WholeRoutes(FakeEngine):
    """Holds a segment from block 1 to each exit as well, as bundles do."""

    def __init__(self, scores):
        super().__init__(scores)
        self.segments = frozenset(segments_for(range(1, 5), tails=True))


class Watching:
    """A policy that stops nobody, and keeps what it was shown."""

    watches, needs_ms, reason = True, False, "convergence"

    def __init__(self):
        self.shown = []

    def limit(self, forecast):
        return forecast.exits[-1]

    def stop(self, progress):
        self.shown.append(progress)
        return np.zeros(len(progress.estimates), bool)


class LessDepth:
    """An estimator whose estimate is the fused score less the depth."""

    def estimate(self, fused, depth):
        return fused - np.float32(depth)


def costs(engine, ms=1.0):
    return CostTable.of(engine.config, engine.segments, dict.fromkeys(engine.segments, ms))


def test_convergence_lets_each_face_leave_at_its_own_exit():
    engine = FakeEngine([RESTLESS, STILL, LATE])
    result = Controller(engine, fusion="last").assess(
        engine.faces, [Convergence(eps=0.5, patience=1)]
    )
    assert result.depth.tolist() == [4, 2, 4]
    assert result.reason == ["full", "convergence", "full"]
    assert engine.calls == [
        ("body-01-01", 3),
        ("body-02-02", 3),
        ("body-03-03", 2),
        ("tail-04-04", 2),
    ]


def test_finished_faces_are_carried_along_where_dropping_them_saves_nothing():
    scores = [STILL, RESTLESS, RESTLESS, LATE, [0, 9, 9, 9]]
    for kind, sizes in ((FakeEngine, [5, 5, 4, 3]), (StaticBatches, [5, 5, 4, 4])):
        engine = kind(scores)
        result = Controller(engine, fusion="last").assess(
            engine.faces, [Convergence(eps=0.5, patience=1)]
        )
        assert result.depth.tolist() == [2, 4, 4, 4, 3]
        assert [count for _, count in engine.calls] == sizes


@pytest.mark.parametrize("kind", [FakeEngine, StaticBatches])
def test_compaction_keeps_scores_with_their_faces(kind):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (40, 6)).astype(float)
    engine = kind(scores)
    result = Controller(engine, fusion="last").assess(
        engine.faces, [Convergence(eps=0.5, patience=1)]
    )
    for face, (trail, depth) in enumerate(zip(result.trail, result.depth, strict=True)):
        assert trail[:depth].tolist() == scores[face, :depth].tolist()
        assert np.isnan(trail[depth:]).all()
        moves = np.abs(np.diff(scores[face]))
        still = np.flatnonzero(moves < 0.5)
        assert depth == (still[0] + 2 if still.size else 6)
    assert len(set(result.depth)) > 3


def test_policies_see_what_the_estimator_says_and_the_score_stays_the_fused_one():
    """Scores 1, 2, 9, 9 less their depth: 0, 0, 6, 5. The first two are the same."""
    engine = FakeEngine([[1, 2, 9, 9]])
    policy = Convergence(eps=0.5, patience=1)
    with_estimator = Controller(engine, fusion="last", estimator=LessDepth())
    result = with_estimator.assess(engine.faces, [policy])
    assert (result.depth[0], result.score[0]) == (2, 2)
    assert Controller(engine, fusion="last").assess(engine.faces, [policy]).depth[0] == 4
    watching = Watching()
    with_estimator.assess(engine.faces, [watching])
    assert [progress.estimates.tolist() for progress in watching.shown] == [
        [[0]],
        [[0, 0]],
        [[0, 0, 6]],
    ]


def test_what_a_policy_is_shown_after_each_segment():
    """Two faces at 1 ms each; by the cost table the segments take 1, 2, 4 and 8 ms a face.

    The load falls by the tenth root of actual over predicted time: 2 of 4 ms, then 2 of 8 ms.
    """
    clock = Clock(ms=1.0)
    clock.now = 100.0  # a clock may count from anything
    engine = FakeEngine([STILL, RESTLESS], on_run=clock.tick)
    ms = {segment: 2.0 ** (segment.last - 1) for segment in engine.segments}
    table = CostTable.of(engine.config, engine.segments, ms)
    watching = Watching()
    controller = Controller(engine, table, fusion="last", clock=clock)
    controller.assess(engine.faces, [watching])
    first, second, third = watching.shown
    assert [progress.depth for progress in watching.shown] == [1, 2, 3]
    assert [progress.elapsed_ms for progress in watching.shown] == pytest.approx([2, 4, 6])
    after_second = 0.5**0.1
    after_third = after_second * (0.25 / after_second) ** 0.1
    assert first.next_ms == pytest.approx(2 * 2)
    assert second.next_ms == pytest.approx(2 * 4 * after_second)
    assert third.next_ms == pytest.approx(2 * 8 * after_third)
    assert third.estimates.tolist() == [[5, 5, 5], [0, 9, 0]]
    assert third.estimates.dtype == np.float32  # the gate's rule is tested on float32


def test_a_machine_as_fast_as_its_table_has_load_one_whatever_the_batch():
    clock = Clock(ms=2.0)
    engine = FakeEngine([STILL, RESTLESS, LATE], on_run=clock.tick)
    controller = Controller(engine, costs(engine, 2.0), clock=clock)
    controller.assess(engine.faces)
    assert controller.load.value == pytest.approx(1)


def test_which_segments_serve_which_policies():
    """In one go where the depth is known, in steps where it may change from face to face."""
    engine = WholeRoutes([STILL])
    ms = {segment: float(segment.last - segment.first + 1) for segment in engine.segments}
    table = CostTable.of(engine.config, engine.segments, ms)
    controller = Controller(engine, table, clock=lambda: 0.0)

    def segments(*policies):
        engine.calls.clear()
        result = controller.assess(engine.faces, policies)
        assert result.trail[0, : result.depth[0]].tolist() == STILL[: result.depth[0]]
        return [name for name, _ in engine.calls]

    assert segments(Fixed()) == ["tail-01-04"]
    assert segments(Fixed(3)) == ["tail-01-03"]
    gflops = controller.forecast().gflops
    assert segments(Budget(gflops=gflops[2])) == ["tail-01-03"]
    in_steps = ["body-01-01", "body-02-02", "body-03-03", "tail-04-04"]
    assert segments(Convergence(eps=1e-9, patience=9)) == in_steps
    # A budget in ms: the next face may get another depth, but none is deeper than the last.
    assert segments(Budget(ms=3)) == ["body-01-01", "body-02-02", "tail-03-03"]
    assert segments(Budget(ms=99)) == ["tail-01-04"]


def test_a_known_depth_is_one_route_and_a_budget_in_ms_all_of_them():
    engine = WholeRoutes([STILL])
    controller = Controller(engine, costs(engine))
    assert controller.routes([Fixed(2)]) == {(Segment(1, 2, tail=True),)}
    last = {route[-1].last for route in controller.routes([Budget(ms=2)])}
    assert last == {1, 2, 3, 4}


def test_the_forecast_adds_up_the_segments_and_lacks_what_was_not_measured():
    engine = FakeEngine([STILL])
    ms = {segment: 10.0**segment.last for segment in engine.segments}
    mj = {segment: 2.0**segment.last for segment in engine.segments}
    controller = Controller(engine, CostTable.of(engine.config, engine.segments, ms, mj))
    forecast = controller.forecast()
    assert forecast.exits == (1, 2, 3, 4)
    assert forecast.ms == (10, 110, 1110, 11110)
    assert forecast.mj == (2, 6, 14, 30)
    controller.load.value = 2.0
    assert controller.forecast().ms == (20, 220, 2220, 22220)
    assert controller.forecast().mj == (2, 6, 14, 30)  # a slower machine takes no more work
    unmeasured = Segment(4, 4, tail=True)
    del ms[unmeasured], mj[unmeasured]
    controller.costs = CostTable.of(engine.config, engine.segments, ms, mj)
    assert (controller.forecast().ms, controller.forecast().mj) == (None, None)


def test_energy_is_that_of_the_segments_that_ran():
    engine = FakeEngine([STILL, RESTLESS])
    mj = {segment: 2.0**segment.last for segment in engine.segments}
    table = CostTable.of(engine.config, engine.segments, {}, mj)
    policies = [Fixed(3), Convergence(eps=0.5, patience=1)]
    result = Controller(engine, table, fusion="last").assess(engine.faces, policies)
    assert result.mj.tolist() == [2 + 4, 2 + 4 + 8]
    assert result.planned == 3
    result = Controller(engine, fusion="last").assess(engine.faces, policies)
    assert np.isnan(result.mj).all()
    assert result.trail.dtype == result.score.dtype == np.float32


def test_own_fusion_weights_are_one_for_each_exit():
    engine = FakeEngine([LATE])
    result = Controller(engine, fusion=(1, 0, 0, 3)).assess(engine.faces)
    assert result.score[0] == pytest.approx((1 * 1 + 3 * 9) / 4)
    with pytest.raises(ConfigError, match="fusion has 3 weights, the model has 4 exits"):
        Controller(engine, fusion=(1, 2, 3))


def test_a_known_depth_runs_bodies_and_then_the_tail():
    engine = FakeEngine([STILL])
    result = Controller(engine).assess(engine.faces, [Fixed(3)])
    assert [name for name, _ in engine.calls] == ["body-01-01", "body-02-02", "tail-03-03"]
    assert (result.depth[0], result.reason[0]) == (3, "fixed")


def test_budget_in_gflops_and_reason():
    engine = FakeEngine([STILL])
    controller = Controller(engine)
    enough_for_two = controller.forecast().gflops[1]
    result = controller.assess(engine.faces, [Budget(gflops=enough_for_two)])
    assert (result.depth[0], result.reason[0]) == (2, "budget")
    assert result.gflops[0] == pytest.approx(enough_for_two)
    assert controller.assess(engine.faces, [Budget(gflops=99)]).reason[0] == "full"


def test_budget_in_ms_follows_the_load():
    clock = Clock(ms=1.0)
    engine = FakeEngine([STILL], on_run=clock.tick)
    controller = Controller(engine, costs(engine), clock=clock)
    assert controller.assess(engine.faces, [Budget(ms=3)]).depth[0] == 3
    clock.ms = 3.0  # the machine becomes three times slower
    depths = [controller.assess(engine.faces, [Budget(ms=3)]).depth[0] for _ in range(60)]
    assert depths[0] == 3
    assert depths[-1] == 1


def test_deadline_answers_with_what_is_there():
    clock = Clock(ms=2.0)
    engine = FakeEngine([STILL], on_run=clock.tick)
    result = Controller(engine, costs(engine, 2.0), clock=clock).assess(
        engine.faces, [Deadline(5.0)]
    )
    assert (result.depth[0], result.reason[0]) == (2, "deadline")
    assert result.score[0] == pytest.approx(5)
    assert clock.now == pytest.approx(0.004)


def test_a_deadline_counts_from_when_the_caller_began_to_wait():
    clock = Clock(ms=2.0)
    clock.now = 50.0
    engine = FakeEngine([STILL], on_run=clock.tick)
    controller = Controller(engine, costs(engine, 2.0), clock=clock)
    assert controller.assess(engine.faces, [Deadline(7.0)]).depth[0] == 3
    waited = controller.assess(engine.faces, [Deadline(7.0)], begin=clock.now - 0.004)
    assert (waited.depth[0], waited.reason[0]) == (1, "deadline")


def test_policies_compose():
    engine = FakeEngine([STILL, RESTLESS])
    result = Controller(engine, fusion="last").assess(
        engine.faces, [Fixed(3), Convergence(eps=0.5, patience=1)]
    )
    assert result.depth.tolist() == [2, 3]
    assert result.reason == ["convergence", "fixed"]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_face_with_a_broken_score_leaves_at_once(broken):
    engine = FakeEngine([[1, broken, 1, 1], RESTLESS])
    result = Controller(engine).assess(engine.faces, [Convergence(eps=0.1, patience=1)])
    assert (result.depth[0], result.reason[0]) == (2, "not_finite")
    assert np.isnan(result.score[0])
    assert result.reason[1] == "full"


def test_a_broken_score_at_a_planned_depth_is_reported():
    engine = FakeEngine([[1, 2, np.nan, 1]])
    result = Controller(engine).assess(engine.faces, [Fixed(4)])
    assert result.reason == ["not_finite"]
    assert np.isnan(result.score[0])


def test_of_two_faces_the_one_with_a_broken_last_score_is_reported():
    engine = FakeEngine([[1, 2, 3, np.nan], [1, 2, 3, 4]])
    assert Controller(engine).assess(engine.faces, [Fixed(4)]).reason == ["not_finite", "fixed"]
    assert Controller(engine).assess(engine.faces).reason == ["not_finite", "full"]


@pytest.mark.parametrize("policies", [[Fixed()], [Convergence()], [Deadline(5)]])
def test_an_empty_batch_is_an_empty_answer(policies):
    engine = FakeEngine([STILL])
    result = Controller(engine).assess(engine.faces[:0], policies)
    assert len(result) == 0
    assert result.trail.shape == (0, 4)
    assert engine.calls == []


def test_more_faces_than_a_batch_holds():
    scores = np.arange(28.0).reshape(7, 4)
    engine = FakeEngine(scores, max_batch=3)
    result = Controller(engine).assess(engine.faces)
    np.testing.assert_array_equal(result.trail, scores)
    assert [n for name, n in engine.calls if name == "body-01-01"] == [3, 3, 1]


def test_segments_of_several_blocks_record_every_exit():
    engine = FakeEngine([[1, 2, 3, 4, 5, 6]], boundaries=(2, 4, 6))
    controller = Controller(engine)
    result = controller.assess(engine.faces, [Fixed(4)])
    np.testing.assert_array_equal(result.trail[0, :4], [1, 2, 3, 4])
    assert np.isnan(result.trail[0, 4:]).all()
    with pytest.raises(ConfigError, match="exit 3 does not exist"):
        controller.assess(engine.faces, [Fixed(3)])


@pytest.mark.parametrize("fusion", ["FW", "F", "last", "max", "median"])
def test_the_early_path_agrees_with_the_full_one(fusion):
    scores = np.random.default_rng(1).normal(size=(9, 6))
    engine = FakeEngine(scores)
    full = Controller(engine, fusion=fusion).assess(engine.faces)
    for depth in range(1, 7):
        early = Controller(engine, fusion=fusion).assess(engine.faces, [Fixed(depth)])
        np.testing.assert_array_equal(early.trail[:, :depth], full.trail[:, :depth])
        np.testing.assert_array_equal(early.score, fuse(full.trail, depth, fusion))


def test_time_and_gflops_are_shared_by_the_faces_of_a_batch():
    clock = Clock(ms=2.0)
    engine = FakeEngine([STILL, RESTLESS], on_run=clock.tick)
    controller = Controller(engine, fusion="last", clock=clock)
    result = controller.assess(engine.faces, [Convergence(eps=0.5, patience=1)])
    assert result.ms.tolist() == pytest.approx([4.0, 8.0])
    assert result.ms.sum() == pytest.approx(1e3 * clock.now)
    assert result.gflops[0] < result.gflops[1]


def test_modes_without_tails():
    engine = FakeEngine([[1, 2, 3]], tails=False)
    assert Controller(engine).assess(engine.faces, [Fixed(2)]).depth[0] == 2


def test_an_engine_failure_comes_through():
    def fail(segment, faces):
        raise EngineFailed("out of memory")

    engine = FakeEngine([STILL], on_run=fail)
    with pytest.raises(EngineFailed):
        Controller(engine).assess(engine.faces)


def test_prepare_leaves_no_trace_in_the_load():
    clock = Clock(ms=100.0)
    engine = FakeEngine([STILL], on_run=clock.tick)
    controller = Controller(engine, costs(engine), clock=clock)
    controller.prepare([Budget(ms=2)])
    assert controller.load.value == 1.0
    ran = {name for name, _ in engine.calls}
    assert {"tail-01-01", "tail-02-02", "tail-03-03"} <= ran


def test_prepare_runs_one_face_unless_it_is_asked_for_more():
    engine = FakeEngine([STILL])
    Controller(engine).prepare()
    assert {faces for _, faces in engine.calls} == {1}
    for batch in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match=f"^batch must be .*at least 1.*, got {batch}"):
            Controller(engine).prepare(batch=batch)


def test_prepare_of_a_network_whose_scores_are_broken():
    """A black picture may score NaN: whether that is an error is decided for real faces."""
    engine = FakeEngine([[np.nan, 1, 1, 1]])
    Controller(engine).prepare()
    assert engine.calls


class Prepared(FakeEngine):
    """Notes what it is told to prepare."""

    def prepare(self, segments=None, faces=None):
        self.told = {segment.name for segment in segments}, set(faces)


def test_prepare_names_what_it_will_run_and_what_is_left_of_a_batch():
    engine = Prepared([STILL], max_batch=4)
    controller = Controller(engine)
    controller.prepare([Convergence(eps=0.1)], batch=3)
    segments, faces = engine.told
    assert segments == {name for name, _ in engine.calls}
    assert faces == {1, 2, 3}


def test_prepare_for_more_faces_than_the_engine_takes_at_once():
    engine = Prepared([STILL], max_batch=4)
    Controller(engine).prepare(batch=8)
    assert engine.told[1] == {1, 2, 3, 4}
    assert {faces for _, faces in engine.calls} == {4}
