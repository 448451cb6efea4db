"""Outside its intervals the gate stops, whatever the calibration looks like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_fiqa import Gate
from edge_fiqa.calibration.artefact import Depth, Rule
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.scale import Sigmoid
from edge_fiqa.exit_table import exit_table, uncertain
from edge_fiqa.fusion import fuse
from edge_fiqa.policy import Convergence, Fixed, Progress

EXITS = 4
numbers = st.floats(-4, 4, width=32)


def lines(values, rising):
    """Lines with 2 to 6 bends."""

    def line(drawn):
        x, y = zip(*drawn, strict=True)
        return Line(tuple(sorted(x)), tuple(sorted(y) if rising else y))

    bends = st.lists(st.tuples(numbers, values), min_size=2, max_size=6, unique_by=lambda p: p[0])
    return bends.map(line)


depths = st.builds(
    Depth, lines(numbers, True), lines(st.floats(0, 2, width=32), False), st.just(-1), st.just(1)
)


def gate_of(depth, gate=50, margin=1.0, fusion="FW", ranked=None):
    estimator = Estimator(Rule(Sigmoid(0.0, 1.0), (depth,) * EXITS, ()))
    return Gate(estimator, (1, 2, 3, 4), fusion, gate, margin, 0.05, 0.95, ranked)


def stops(gate, fused, depth=2):
    """Does the gate itself stop faces with these fused scores?"""
    estimates = gate.estimator.estimate(np.asarray(fused, np.float32), depth)
    return gate.stop(Progress(estimates[:, None], depth, 0.0, None))


def plain(slope=1.0, spread=0.5):
    return Depth(
        Line((-2.0, 2.0), (-2.0 * slope, 2.0 * slope)), Line((-9.0, 9.0), (spread,) * 2), -1, 1
    )


def test_the_interval_of_a_straight_map_by_hand():
    """Estimate = score, spread 0.5, margin 2: certain more than 1 from the gate's line."""
    gate = gate_of(plain(), margin=2.0)
    low, high = uncertain(gate, 2)
    assert (low, high) == pytest.approx((gate.line - 1, gate.line + 1), rel=1e-4)
    assert low < gate.line - 1
    assert high > gate.line + 1
    low, high = uncertain(gate_of(plain(slope=0.25), margin=2.0), 2)
    assert (low, high) == (-np.inf, np.inf)  # estimates end at 0.5, so nothing is ever certain
    low, high = uncertain(gate_of(plain(spread=0.0), gate=100), 2)
    assert (low, high) == (np.inf, -np.inf)  # the line lies above all estimates: all are rejected


@settings(max_examples=60)
@given(depths, st.integers(0, 100), st.floats(0.05, 8), st.lists(numbers, max_size=20))
def test_outside_the_gate_stops(depth, gate, margin, scores):
    gate = gate_of(depth, gate, margin)
    low, high = uncertain(gate, 2)
    near = [
        np.nextafter(edge, np.float32(side))
        for edge in (low, high)
        if np.isfinite(edge)
        for side in (-np.inf, np.inf)
    ]
    fused = np.array([*scores, *near, *depth.full.x, -1e9, 1e9], np.float32)
    outside = (fused < low) | (fused > high)
    assert stops(gate, fused)[outside].all()


@settings(max_examples=40)
@given(depths, st.integers(1, 99), st.floats(0.05, 8))
def test_the_interval_is_no_wider_than_it_must_be(depth, gate, margin):
    """At its ends the gate is uncertain, or would be with a margin a thousandth larger."""
    gate = gate_of(depth, gate, margin)
    low, high = uncertain(gate, 2)
    for edge, inwards in ((low, 1), (high, -1)):
        if not np.isfinite(edge):
            continue
        inside = np.float32(edge)
        for _ in range(4):
            inside = np.nextafter(inside, np.float32(inwards * np.inf))
        estimate = gate.estimator.estimate(np.array([inside]), 2)
        needed = margin * gate.estimator.spread(estimate, 2)
        assert abs(estimate - gate.line) <= needed + 1e-3 * (abs(gate.line) + 1 + needed)


@pytest.mark.parametrize("fusion", ["FW", "F", "last", (1.0, 0.0, 2.0, 3.0)])
def test_weights_make_the_fused_score(fusion):
    gate = gate_of(plain(), fusion=fusion)
    table = exit_table([gate], gate.estimator, fusion, (1, 3))
    trail = np.random.default_rng(0).normal(size=(50, EXITS)).astype(np.float32)
    for depth, weights in zip(table.depths, table.weights, strict=True):
        assert not weights[depth:].any()
        np.testing.assert_allclose(trail @ weights, fuse(trail, depth, fusion), atol=1e-6)


def test_who_gets_no_table():
    gate = gate_of(plain())
    other = Estimator(Rule(Sigmoid(1.0, 1.0), (plain(),) * EXITS, ()))
    assert exit_table([gate], gate.estimator, "FW", (1, 2)) is not None
    for watching, estimator, fusion in (
        ([], gate.estimator, "FW"),
        ([Convergence()], gate.estimator, "FW"),
        ([gate, Convergence()], gate.estimator, "FW"),
        ([gate_of(plain(), ranked=60)], gate.estimator, "FW"),
        ([gate_of(plain(), margin=None)], gate.estimator, "FW"),
        ([gate_of(plain(), fusion="median")], gate.estimator, "median"),
        ([gate], None, "FW"),
        ([gate], other, "FW"),
        ([gate], gate.estimator, "F"),
        ([Fixed()], gate.estimator, "FW"),
    ):
        assert exit_table(watching, estimator, fusion, (1, 2)) is None
    assert exit_table([gate], gate.estimator, "FW", ()) is None
