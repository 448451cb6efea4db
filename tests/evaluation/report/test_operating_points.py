"""Operating points by hand."""

import pytest

from edge_fiqa.evaluation.report.operating_points import Stop, recommend
from edge_fiqa.evaluation.report.rows import WorthRow, averages


def stops(*relative):
    return [Stop(k, value, 1.0 * k, None) for k, value in enumerate(relative, 1)]


def test_the_cheapest_exit_that_keeps_enough_of_the_best():
    points = {p.name: p for p in recommend(stops(0.9, 0.68, 0.61, 0.6, 0.63))}
    # Worth: .1, .32, .39, .40, .37; 80 % of .40 is .32, 95 % is .38.
    assert [points[n].stop.exit for n in ("max efficiency", "balanced", "max accuracy")] == [
        2,
        3,
        4,
    ]
    assert points["balanced"].keeps == pytest.approx(0.39 / 0.4)


def test_a_level_curve_is_left_at_once():
    assert {p.stop.exit for p in recommend(stops(0.7, 0.7, 0.7))} == {1}


def test_worse_than_chance_is_never_recommended():
    assert recommend(stops(1.0, 1.2)) == []
    assert recommend([]) == []


def row(data, quality, relative, recogniser="r"):
    return WorthRow(
        data=data,
        recogniser=recogniser,
        group="all",
        fmr=0.01,
        quality=quality,
        pauc=0.0,
        low=0.0,
        high=0.0,
        relative=relative,
        crfiqa=None,
        crfiqa_95=None,
    )


def test_averages_compare_over_the_same_cells_only():
    means = averages(
        [
            row("A", "x", 0.2),
            row("A", "y", 0.4),
            row("A", "only in A", 0.1),
            row("B", "x", 0.6),
            row("B", "y", 0.8),
            row("C", "x", None),
            row("C", "y", None),  # no errors to avoid
        ]
    )
    assert means == {("all", 0.01): {"x": pytest.approx(0.4), "y": pytest.approx(0.6)}}
