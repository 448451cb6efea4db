"""The gate policy in the loop: stops where it is certain, and nowhere else."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_fiqa import Gate
from edge_fiqa.calibration.artefact import Depth, Rule
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.scale import Quantile
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.policies.gate import check_gate, gate_alone
from edge_fiqa.policies.policy import Budget, Convergence, Deadline, Fixed, Progress
from edge_fiqa.scoring.controller import Controller
from tests.calibrated import calibration_of_numbers, trails
from tests.causes import limits_of


@pytest.fixture(scope="module")
def calibration():
    return calibration_of_numbers()


@pytest.fixture(scope="module")
def gate(calibration):
    return Gate.of(calibration, 60, exits=(1, 2, 3, 4))


def test_running_and_replaying_agree(gate):
    trail = trails(400, seed=1)
    engine = FakeEngine(trail)
    controller = Controller(engine, estimator=gate.estimator)
    assessment = controller.assess(engine.faces, [Fixed(), gate])
    replay = gate.replay(trail)
    np.testing.assert_array_equal(assessment.depth, replay.depth)
    assert set(assessment.depth) == {1, 2, 3, 4}
    reasons = np.array(assessment.reason)
    assert set(reasons[assessment.depth < 4]) == {"gate"}
    assert set(reasons[assessment.depth == 4]) == {"full"}
    qualities = gate.estimator.qualities(assessment.score, assessment.depth)
    np.testing.assert_array_equal(qualities.quality >= 60, replay.accepted)


def test_unseen_faces_flip_at_most_as_promised(gate):
    replay = gate.replay(trails(50_000, seed=2))
    assert replay.flipped.mean() <= 0.02
    assert replay.depth.mean() < 3


def test_ranked_runs_every_rejected_face_to_full_depth_and_flips_less(gate):
    ranked = replace(gate, ranked=60)
    trail = trails(400, seed=5)
    engine = FakeEngine(trail)
    controller = Controller(engine, estimator=gate.estimator)
    assessment = controller.assess(engine.faces, [Fixed(), ranked])
    replay = ranked.replay(trail)
    np.testing.assert_array_equal(assessment.depth, replay.depth)
    assert set(replay.depth) == {1, 2, 3, 4}
    assert set(replay.depth[~replay.accepted]) == {4}
    plain, many = gate.replay(trails(50_000, seed=6)), ranked.replay(trails(50_000, seed=6))
    assert plain.flipped[many.flipped].all()
    assert 0 < many.flipped.sum() < plain.flipped.sum()


def test_ranked_above_the_gate_keeps_the_order_of_all_faces_below_and_the_promise(calibration):
    ranked = Gate.of(calibration, 40, exits=(1, 2, 3, 4), ranked=75)
    trail = trails(50_000, seed=7)
    replay, early = ranked.replay(trail), ranked.replay(trail).depth < 4
    full = ranked.estimator.qualities(fuse(trail, 4), np.full(len(trail), 4)).quality
    assert set(replay.depth) == {1, 2, 3, 4}
    assert (full[early] >= 75).mean() > 0.98
    assert replay.accepted[early].all()
    assert replay.flipped.mean() <= 0.02
    assert (replay.accepted == (full >= 40))[~early].all()
    engine = FakeEngine(trail[:400])
    controller = Controller(engine, estimator=ranked.estimator)
    assessment = controller.assess(engine.faces, [ranked])
    np.testing.assert_array_equal(assessment.depth, replay.depth[:400])


def test_ranked_stops_at_its_own_margin_not_at_the_gates(calibration):
    """A margin of 1 spread is enough at the gate, 40; of `ranked`, 75, it takes 3."""
    (promise,) = calibration.rules["FW"].promises
    margins = tuple(3.0 if quality == 75 else 1.0 for quality in range(101))
    rule = msgspec.structs.replace(
        calibration.rules["FW"], promises=(msgspec.structs.replace(promise, gates=margins),)
    )
    calibration = msgspec.structs.replace(calibration, rules={"FW": rule})
    exits = (1, 2, 3, 4)
    assert Gate.of(calibration, 40, exits=exits).margin == 1
    ranked = Gate.of(calibration, 40, exits=exits, ranked=75)
    assert ranked.margin == 3
    assert Gate.of(calibration, 75, exits=exits, ranked=40).margin == 3  # the higher of the two
    spread = ranked.estimator.spread(np.array([ranked.stop_threshold]), 1)
    for spreads_above, stops in ((2, False), (4, True)):
        estimates = (ranked.stop_threshold + spreads_above * spread)[None].astype(np.float32)
        assert ranked.stop(Progress(estimates, 1, 0.0, None)).tolist() == [stops]


def test_a_face_once_sure_to_be_rejected_does_not_stop_when_it_recovers(gate):
    trail = np.array([[-9.0, 9.0, 9.0, 9.0]], np.float32)
    assert gate.replay(trail).depth.tolist() == [1]
    ranked = replace(gate, ranked=60)
    assert ranked.replay(trail).depth.tolist() == [4]
    engine = FakeEngine(trail)
    controller = Controller(engine, estimator=gate.estimator)
    assert controller.assess(engine.faces, [ranked]).depth.tolist() == [4]


@pytest.mark.parametrize("ranked", [None, 40, 60, 75])
def test_the_policy_marks_who_is_certain_by_definition(gate, ranked):
    """Face by face: beyond the margin now; with `ranked` above it, and never certain below."""
    policy = replace(gate, ranked=ranked)
    threshold = gate.estimator.scale.score_of(max(60, ranked or 0))
    estimates = np.random.default_rng(8).normal(threshold, 1.5, (300, 3)).astype(np.float32)
    expected = []
    for face in estimates:
        spreads = [
            gate.estimator.spread(e[None], k)[0] for e, k in zip(face, (1, 2, 3), strict=True)
        ]
        away = [abs(e - threshold) > gate.margin * s for e, s in zip(face, spreads, strict=True)]
        rejected = any(sure and e < threshold for sure, e in zip(away, face, strict=True))
        expected.append(away[-1] and not (ranked is not None and rejected))
    marked = policy.stop(Progress(estimates, 3, 0.0, None))
    np.testing.assert_array_equal(marked, expected)
    assert 0 < marked.sum() < 300


@pytest.mark.parametrize("first", [2, 3, 4])
def test_rejected_faces_run_to_an_exit_that_says_why_and_decisions_do_not_get_worse(gate, first):
    told = replace(gate, reasons_at=tuple(range(first, 5)))
    trail = trails(400, seed=5)
    engine = FakeEngine(trail)
    assessment = Controller(engine, estimator=gate.estimator).assess(engine.faces, [told])
    replay, plain = told.replay(trail), gate.replay(trail)
    np.testing.assert_array_equal(assessment.depth, replay.depth)
    assert (plain.depth[~plain.accepted] < first).any()
    assert (replay.depth[~replay.accepted] >= first).all()
    surely = plain.accepted & replay.accepted
    np.testing.assert_array_equal(replay.depth[surely], plain.depth[surely])
    plain, many = gate.replay(trails(50_000, seed=6)), told.replay(trails(50_000, seed=6))
    assert plain.flipped[many.flipped].all()
    changed = plain.accepted != many.accepted
    assert (many.depth[changed] == 4).all()


def test_a_rejected_face_that_recovers_on_the_way_runs_on_until_it_lies_below_again():
    """Quality 40 begins at 39.5, and certain is beyond 8."""
    told = replace(by_hand(40), reasons_at=(3, 4))
    trail = [[20, 20, 38, 0], [20, 90, 90, 90], [20, 90, 45, 38], [20, 45, 90, 38], [90, 0, 0, 0]]
    trail += [[20, 20, 39.5, 0], [20, 39.5, 39.25, 0]]
    replay = told.replay(np.array(trail, np.float32))
    assert replay.depth.tolist() == [3, 4, 4, 4, 1, 4, 3]
    assert replay.accepted.tolist() == [False, True, False, False, True, False, False]
    assert not stopped(told, 20)
    assert not stopped(told, 20, 20)
    assert stopped(told, 20, 20, 38)
    assert not stopped(told, 20, 20, 39.5)  # it would be accepted now
    assert not stopped(told, 20, 90, 90)
    assert stopped(told, 38, 38, 20)  # certain only here


def test_a_rejected_face_does_not_stop_between_exits_that_say_why():
    told = replace(by_hand(40), reasons_at=(1, 3))
    trail = np.array([[20, 20, 20, 20], [38, 20, 20, 20], [38, 38, 38, 20]], np.float32)
    assert told.replay(trail).depth.tolist() == [1, 3, 4]
    assert stopped(told, 20)
    assert not stopped(told, 38, 20)
    assert stopped(told, 38, 20, 20)


def test_faces_to_be_sorted_run_to_full_depth_whatever_says_why():
    ranked = replace(by_hand(40, ranked=75), reasons_at=(2, 3, 4))
    assert ranked.replay(np.array([[20] * 4, [90] * 4], np.float32)).depth.tolist() == [4, 1]
    assert not stopped(ranked, 20, 20)


def test_rejected_faces_go_on_where_the_calibration_reports_causes(calibration):
    def of(*rows):
        causes = limits_of(("yaw",), (1, 2, 3, 4), rows)
        return Gate.of(
            msgspec.structs.replace(calibration, causes=causes), 60, exits=(1, 2, 3, 4)
        ).reasons_at

    assert of(None, (1.0,), None, (1.0,)) == (2, 4)
    assert of(None, None, None, None) == ()
    assert Gate.of(calibration, 60, exits=(1, 2, 3, 4)).reasons_at == ()


def test_no_margin_means_full_depth(gate):
    unsure = replace(gate, margin=None)
    trail = trails(20, seed=3)
    engine = FakeEngine(trail)
    controller = Controller(engine, estimator=gate.estimator)
    assert set(controller.assess(engine.faces, [unsure]).depth) == {4}
    assert set(unsure.replay(trail).depth) == {4}


def test_gate_0_is_passed_at_once(calibration):
    replay = Gate.of(calibration, 0, exits=(1, 2, 3, 4)).replay(trails(50))
    assert replay.accepted.all()
    assert set(replay.depth) == {1}


def test_it_composes_with_a_budget(gate):
    engine = FakeEngine(trails(100, seed=4))
    controller = Controller(engine, estimator=gate.estimator)
    assert controller.assess(engine.faces, [Fixed(2), gate]).depth.max() == 2


def test_what_it_was_not_calibrated_for_is_refused(calibration):
    with pytest.raises(ConfigError, match="for stopping at exits 1, 2, 3, 4, this bundle stops at"):
        Gate.of(calibration, 50, exits=(2, 4))
    with pytest.raises(ConfigError, match=r"no risk of 0\.1 in this calibration \(it has 0\.02\)"):
        Gate.of(calibration, 50, exits=(1, 2, 3, 4), risk=0.1)
    with pytest.raises(ConfigError, match=r"^a risk must be a number, got True$"):
        Gate.of(calibration, 50, exits=(1, 2, 3, 4), risk=True)
    rule = msgspec.structs.replace(calibration.rules["FW"], promises=())
    none = msgspec.structs.replace(calibration, rules={"FW": rule})
    with pytest.raises(ConfigError, match="it has none"):
        Gate.of(none, 50, exits=(1, 2, 3, 4), risk=0.01)


def by_hand(gate, ranked=None):
    """Scores are qualities, spreads are 4 and the margin is 2 of them: certain is beyond 8."""
    line, spread = Line((0.0, 100.0), (0.0, 100.0)), Line((0.0, 100.0), (4.0, 4.0))
    rule = Rule(Quantile(line), (Depth(line, spread, -1.0, 1.0),) * 4, ())
    return Gate(Estimator(rule), (1, 2, 3, 4), "last", gate, 2.0, 0.01, 0.95, ranked)


def stopped(gate, *estimates):
    progress = Progress(np.array([estimates], np.float32), len(estimates), 0.0, None)
    return bool(gate.stop(progress)[0])


def test_certain_is_more_than_the_margin_away_on_either_side():
    """Quality 40 begins at 39.5."""
    gate = by_hand(40)
    assert [stopped(gate, 39.5 + d) for d in (-8.25, -8, 0, 8, 8.25)] == [True, *[False] * 3, True]
    trails_of = np.array([[39.5 + d, 0, 0, 0] for d in (-8.25, -8, 8, 8.25)], np.float32)
    assert gate.replay(trails_of).depth.tolist() == [1, 2, 2, 1]
    assert gate.replay(np.array([[39.5] * 4, [39.25] * 4], np.float32)).accepted.tolist() == [
        True,
        False,
    ]


def test_ranked_asks_of_its_own_threshold_and_of_the_gate_if_that_is_higher():
    gate = by_hand(40, ranked=75)
    assert (gate.stop_threshold, gate.threshold) == (74.5, 39.5)
    gate = by_hand(75, ranked=40)
    assert (gate.stop_threshold, gate.threshold) == (74.5, 74.5)
    ranked = by_hand(40, ranked=75)
    assert stopped(ranked, 90)
    assert stopped(ranked, 70, 90)  # never certain to lie below 75
    assert not stopped(ranked, 55)  # accepted for sure, and to be sorted
    assert not stopped(ranked, 55, 90)
    assert ranked.replay(np.array([[55, 90, 90, 90], [90] * 4], np.float32)).depth.tolist() == [
        4,
        1,
    ]


def test_a_promise_is_of_all_faces_or_of_none(gate):
    """Where another policy takes faces away, none is made."""
    assert gate_alone([Fixed(), gate, Budget(ms=1)]) is gate
    for other in (Convergence(), Deadline(1)):
        assert gate_alone([gate, other]) is None
    assert gate_alone([Fixed()]) is None


def test_a_gate_is_a_quality(calibration):
    for quality in (0, 100):
        check_gate(quality)
        assert Gate.of(calibration, quality, exits=(1, 2, 3, 4)).gate == quality
    for wrong, name in (
        ({"gate": -1}, "a gate"),
        ({"gate": 101}, "a gate"),
        ({"gate": 50, "ranked": 101}, "a quality to rank below"),
    ):
        with pytest.raises(ConfigError, match=f"^{name} must be from 0 to 100, got -?\\d+$"):
            Gate.of(calibration, exits=(1, 2, 3, 4), **wrong)


def test_it_says_what_the_calibration_promised(calibration):
    (promise,) = calibration.rules["FW"].promises
    gate = Gate.of(calibration, 50, exits=(1, 2, 3, 4))
    assert (gate.risk, gate.confidence) == (promise.risk, promise.confidence) == (0.02, 0.95)


def test_gate_0_has_the_margin_of_gate_0(calibration):
    (promise,) = calibration.rules["FW"].promises
    margins = tuple(float(quality) for quality in range(101))
    rule = msgspec.structs.replace(
        calibration.rules["FW"], promises=(msgspec.structs.replace(promise, gates=margins),)
    )
    calibration = msgspec.structs.replace(calibration, rules={"FW": rule})
    assert Gate.of(calibration, 0, exits=(1, 2, 3, 4)).margin == 0
