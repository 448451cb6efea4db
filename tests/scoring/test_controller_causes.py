"""Logits of causes: read where each face stops, whatever the others do."""

import threading

import msgspec
import numpy as np
import pytest

from edge_fiqa import Scorer
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.policies.policy import Convergence, Fixed
from edge_fiqa.reasons.report import cause_values
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Segment
from tests.causes import HEADS, NAMES, limits_of, logits_of

STILL, LATE, RESTLESS = [5, 5, 5, 5], [1, 5, 5, 5], [0, 9, 0, 9]  # they stop at exits 2, 3, 4
CONVERGES = [Convergence(eps=0.5, patience=1)]


class StaticBatches(FakeEngine):
    """Fills batches up to the next power of two: finished faces stay in a batch for a while."""

    def computed(self, faces):
        return 1 << (faces - 1).bit_length()


def numbered(faces, exits=4):
    """Logits that say whose they are, and of which exit."""
    rows, columns = np.mgrid[:faces, 1 : exits + 1]
    return {"yaw": 10 * rows + columns, "noise": -10 * rows - columns}


@pytest.mark.parametrize("kind", [FakeEngine, StaticBatches])
@pytest.mark.parametrize("max_batch", [2, 4, 64])
def test_each_face_has_the_logits_of_the_exit_where_it_stopped(kind, max_batch):
    scores = [RESTLESS, STILL, LATE, STILL, RESTLESS, LATE, STILL]
    engine = kind(scores, max_batch=max_batch, causes=numbered(len(scores)))
    result = Controller(engine, fusion="last").assess(engine.faces, CONVERGES)
    assert result.depth.tolist() == [4, 2, 3, 2, 4, 3, 2]
    assert result.causes.dtype == np.float32
    yaw = [10 * row + depth for row, depth in enumerate(result.depth)]
    assert result.causes.tolist() == [[value, -value] for value in yaw]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_fixed_depth(depth):
    engine = FakeEngine([STILL, LATE], causes=numbered(2))
    result = Controller(engine).assess(engine.faces, [Fixed(depth)])
    assert result.causes.tolist() == [[depth, -depth], [10 + depth, -10 - depth]]


def test_a_face_whose_score_is_not_finite_stops_with_the_logits_of_that_exit():
    engine = FakeEngine([[1, np.nan, 1, 1], STILL], causes=numbered(2))
    result = Controller(engine).assess(engine.faces)
    assert list(zip(result.reason, result.depth.tolist(), strict=True)) == [
        ("not_finite", 2),
        ("full", 4),
    ]
    assert result.causes[:, 0].tolist() == [2, 14]


def test_no_faces_have_no_logits():
    engine = FakeEngine([STILL], causes=numbered(1))
    assert Controller(engine).assess(engine.faces[:0]).causes.shape == (0, 2)


def test_without_heads_there_are_none():
    engine = FakeEngine([STILL, LATE])
    assert Controller(engine).assess(engine.faces, CONVERGES).causes is None


def test_a_failure_on_the_way_leaves_none_behind():
    """The logits of a call that failed are not those of the next."""

    def fail(segment, faces):
        if segment == Segment(2, 2) and failing:
            raise EngineFailed("broken")

    engine = FakeEngine([STILL, LATE], causes=numbered(2), on_run=fail)
    controller, failing = Controller(engine, fusion="last"), [True]
    with pytest.raises(EngineFailed, match="broken"):
        controller.assess(engine.faces, CONVERGES)
    failing.clear()
    assert controller.assess(engine.faces[1:], CONVERGES).causes.tolist() == [[13, -13]]


@pytest.mark.parametrize("backend", ["ov", "ort", "pt"])
def test_faces_that_stop_early_have_the_logits_of_that_exit(
    backend, cause_bundle, tiny_causes, faces
):
    expected = logits_of(tiny_causes, faces)
    with open_engine(cause_bundle, backend, threads=1) as engine:
        result = Controller(engine).assess(faces, halting(engine, faces))
    assert len(set(result.depth.tolist())) > 1  # they stop at different exits
    here = expected[np.arange(len(faces)), result.depth - 1]
    np.testing.assert_allclose(result.causes, here, atol=1e-5)


def test_threads_that_share_an_engine_get_the_logits_of_their_own_faces(
    cause_bundle, tiny_causes, faces
):
    expected, results = logits_of(tiny_causes, faces), {}
    with open_engine(cause_bundle, "ov", threads=1) as engine:
        controller = Controller(engine)
        policies = halting(engine, faces)

        def assess(row):
            results[row] = [controller.assess(faces[row:], policies) for _ in range(5)]

        threads = [threading.Thread(target=assess, args=(row,)) for row in range(len(faces))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for row in range(len(faces)):
        for result in results[row]:
            here = expected[np.arange(row, len(faces)), result.depth - 1]
            np.testing.assert_allclose(result.causes, here, atol=1e-5)


def halting(engine, faces):
    """A policy under which some of the faces stop early: their scores move by less than the median."""
    trail = Controller(engine).assess(faces).trail
    moves = np.abs(np.diff(trail[:, :3], axis=1))
    return [Convergence(eps=float(np.median(moves)), patience=1)]


def limits_for(names, heads):
    rows = tuple((-50.0 - exit, *[50.0] * (len(names) - 1)) for exit in range(1, 5))
    return limits_of(tuple(names), (1, 2, 3, 4), rows, heads)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_record_gives_the_reasons_of_the_exit_where_its_face_stopped(
    bundle, cause_bundle, tiny_causes, faces, depth
):
    """The calibration is of the network, which has the same fingerprint with heads and without."""
    heads = tiny_causes.causes.sha256
    calibration = msgspec.structs.replace(bundle.calibration, causes=limits_for(NAMES, heads))
    logits = logits_of(tiny_causes, faces)
    with Scorer.open(cause_bundle, backend="ort", threads=1, calibration=calibration) as scorer:
        for row, face in enumerate(faces):
            record = scorer.score_face(FaceCrop("a", "a", face), [Fixed(depth)])
            values = cause_values(logits[row, depth - 1])
            np.testing.assert_allclose([*record.reasons.values.values()], values, atol=1)
            assert list(record.reasons.values) == list(NAMES)
            assert [cause.cause for cause in record.reasons.reported] == ["yaw"]


def test_limits_for_other_heads_are_refused(bundle, cause_bundle):
    """The network's fingerprint is the same, and so may be the names."""
    calibration = msgspec.structs.replace(bundle.calibration, causes=limits_for(NAMES, HEADS))
    with pytest.raises(ConfigError, match=r"other cause heads.*edge-fiqa calibrate"):
        Scorer.open(cause_bundle, backend="ort", threads=1, calibration=calibration)


def test_without_heads_the_same_calibration_gives_no_reasons(bundle, faces):
    calibration = msgspec.structs.replace(bundle.calibration, causes=limits_for(NAMES, HEADS))
    with Scorer.open(bundle, backend="ort", threads=1, calibration=calibration) as scorer:
        record = scorer.score_face(FaceCrop("a", "a", faces[0]))
    assert record.quality.code == "ok"
    assert record.reasons is None
