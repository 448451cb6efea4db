"""From numbers to a record, by hand: scores are qualities, one point is one point."""

from dataclasses import replace

import numpy as np
import pytest

from edge_fiqa import Convergence, Fixed, Gate
from edge_fiqa.calibration.artefact import Depth, Rule
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.scale import Quantile
from edge_fiqa.faces.crop_check import FEATURELESS
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.record import Algorithm, Cost, Decision, Exit
from edge_fiqa.scoring.controller import Assessment
from edge_fiqa.scoring.recorder import Recorder
from tests.causes import limits_of

SAME = Line((0.0, 100.0), (0.0, 100.0))
FOUR = Line((0.0, 100.0), (4.0, 4.0))
ESTIMATOR = Estimator(Rule(Quantile(SAME), (Depth(SAME, FOUR, -0.5, 1.0),) * 3, ()))
ALGORITHM = Algorithm("m", "1", "sha256:0")
GATE = Gate(ESTIMATOR, (1, 2, 3), "last", 40, 2.0, 0.01, 0.95)
CROP = FaceCrop("a#0", "a", np.zeros((112, 112, 3), np.uint8), warnings=("dark",))


LIMITS = limits_of(("yaw", "noise"), (2, 3), ((0.0, 0.0), (1.0, -1.0)))


def recorder(estimator=ESTIMATOR, gate=None, limits=None):
    return Recorder(ALGORITHM, 3, "last", estimator, "quantile:1", gate, limits)


def assessment(*scores, reason="gate", planned=3, mj=np.nan, causes=None):
    """One face that stopped behind so many exits."""
    trail = np.full((1, 3), np.nan, np.float32)
    trail[0, : len(scores)] = scores
    last = trail[:, len(scores) - 1].copy()
    return Assessment(
        trail,
        np.array([len(scores)]),
        last,
        [reason],
        np.array([1.23456]),
        np.array([0.12345678]),
        np.array([mj]),
        planned,
        None if causes is None else np.array([causes], np.float32),
    )


def record_of(*scores, policies=(), who=None, **more):
    (record,) = (who or recorder()).records([CROP], assessment(*scores, **more), policies)
    return record


def test_what_is_said_of_a_face():
    record = record_of(50, 60, mj=3.00004)
    quality = record.quality
    assert (quality.scalar, quality.raw, quality.code) == (60, 60.0, "ok")
    assert quality.interval == (58, 64)  # half a spread below, one above
    assert quality.calibration == "quantile:1"
    assert record.exit == Exit(2, "gate", (50.0, 60.0, None), "last")
    assert record.cost == Cost(0.123457, 1.2346, 3.0)
    assert record_of(50).cost.mj is None
    assert record.warnings == ("dark", FEATURELESS)
    assert record.decision == Decision(None, None, None, None)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_has_no_quality_and_is_not_accepted(broken):
    record = record_of(50, broken, who=recorder(gate=0))
    assert (record.quality.code, record.quality.scalar, record.quality.raw) == (
        "not_finite",
        None,
        None,
    )
    assert record.exit.scores == (50.0, None, None)
    assert record.decision == Decision(0, False, None, None)


def test_without_a_calibration_there_is_a_raw_score_and_no_quality():
    quality = record_of(50, who=recorder(estimator=None)).quality
    assert (quality.scalar, quality.raw, quality.interval) == (None, 50.0, None)
    assert (quality.code, quality.calibration) == ("ok", None)


@pytest.mark.parametrize(("score", "accepted"), [(39, False), (40, True), (41, True)])
def test_a_face_at_the_gate_is_accepted(score, accepted):
    assert record_of(score, who=recorder(gate=40)).decision == Decision(40, accepted, None, None)


@pytest.mark.parametrize(
    ("reason", "planned", "policies", "promised"),
    [
        ("gate", 3, [GATE], True),
        ("full", 3, [GATE], True),
        ("full", 3, [Fixed(), GATE], True),
        ("audit", 3, [GATE], False),
        ("gate", 2, [Fixed(2), GATE], False),  # full depth was never allowed
        ("gate", 3, [GATE, Convergence()], False),
    ],
)
def test_risk_and_confidence_are_said_where_the_promise_holds(reason, planned, policies, promised):
    record = record_of(70, reason=reason, planned=planned, policies=policies, who=recorder(gate=90))
    numbers = (0.01, 0.95) if promised else (None, None)
    assert record.decision == Decision(40, True, *numbers)  # the policy's gate, not the scorer's


def test_a_refused_face_is_rejected_only_where_there_is_a_gate():
    face = RefusedFace("b#1", "b", "too_small", "tiny", (1.0, 2.0, 3.0, 4.0))
    record = recorder(gate=40).refused(face)
    assert (record.id, record.source, record.box) == ("b#1", "b", (1.0, 2.0, 3.0, 4.0))
    assert (record.quality.code, record.quality.scalar) == ("too_small", None)
    assert record.exit == Exit(None, None, (None, None, None), "last")
    assert record.cost == Cost(None, None, None)
    assert record.decision == Decision(40, False, None, None)
    assert record.warnings == ("tiny",)
    assert recorder().refused(face).decision == Decision(None, None, None, None)


def test_records_keep_the_order_of_their_faces():
    both = assessment(50), assessment(60)
    together = Assessment(
        *(np.concatenate([getattr(a, name) for a in both]) for name in ("trail", "depth", "score")),
        ["gate", "full"],
        *(np.concatenate([getattr(a, name) for a in both]) for name in ("ms", "gflops", "mj")),
        3,
    )
    records = list(recorder().records([CROP, replace(CROP, id="c#0")], together, []))
    assert [(r.id, r.quality.scalar, r.exit.reason) for r in records] == [
        ("a#0", 50, "gate"),
        ("c#0", 60, "full"),
    ]


def test_reasons_are_read_with_the_limits_of_the_depth_where_the_face_stopped():
    who = recorder(limits=LIMITS)
    at_2 = record_of(50, 60, who=who, causes=(0.5, -0.5)).reasons
    assert [each.cause for each in at_2.reported] == ["yaw"]
    at_3 = record_of(50, 60, 70, who=who, causes=(0.5, -0.5)).reasons
    assert [each.cause for each in at_3.reported] == ["noise"]
    assert at_2.values == at_3.values == {"yaw": 38, "noise": 62}


@pytest.mark.parametrize(
    ("limits", "causes"), [(None, (9, 9)), (LIMITS, None), (LIMITS, (np.nan, 9))]
)
def test_without_limits_or_logits_there_are_no_reasons(limits, causes):
    assert record_of(50, 60, who=recorder(limits=limits), causes=causes).reasons is None


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_face_without_score_has_no_reasons(broken):
    record = record_of(50, broken, who=recorder(limits=LIMITS), causes=(9, 9))
    assert record.quality.code == "not_finite"
    assert record.reasons is None


def test_at_an_exit_without_limits_nothing_is_reported():
    reasons = record_of(50, who=recorder(limits=LIMITS), causes=(9, 9)).reasons
    assert (reasons.reported, reasons.instruction) == ((), None)
    assert reasons.values == {"yaw": 0, "noise": 0}
