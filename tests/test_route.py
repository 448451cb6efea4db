"""Routes: which segments reach an exit."""

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.route import exits, parse_boundaries, route_to, segments_for
from edge_fiqa.types import Segment


def names(route):
    return [segment.name for segment in route]


def test_a_known_depth_ends_in_a_tail():
    segments = segments_for((1, 2, 3, 4), tails=True)
    assert names(route_to(segments, 3)) == ["body-01-01", "body-02-02", "tail-03-03"]
    assert names(route_to(segments, 1)) == ["tail-01-01"]


def test_full_depth_is_one_segment_if_nothing_may_stop_before():
    segments = segments_for((2, 4), tails=True)
    assert names(route_to(segments, 4)) == ["tail-01-04"]
    watched = route_to(segments, 4, may_stop_before=True)
    assert names(watched) == ["body-01-02", "tail-03-04"]


def test_modes_without_tails_use_bodies():
    segments = segments_for((1, 2), tails=False)
    assert names(route_to(segments, 1)) == ["body-01-01"]
    assert names(route_to(segments, 2, may_stop_before=True)) == ["body-01-01", "body-02-02"]


def test_exits_are_the_ends_that_a_chain_reaches():
    assert exits(segments_for((3, 6, 9, 12), tails=True)) == (3, 6, 9, 12)
    assert exits([Segment(1, 2), Segment(4, 5)]) == (2,)


def test_an_exit_inside_a_segment_is_refused():
    with pytest.raises(ConfigError, match="can stop at exits 3, 6"):
        route_to(segments_for((3, 6), tails=True), 4)


def test_parse_boundaries():
    assert parse_boundaries("12", 12) == tuple(range(1, 13))
    assert parse_boundaries("4", 12) == (3, 6, 9, 12)
    assert parse_boundaries("1", 12) == (12,)
    assert parse_boundaries("2,7,12", 12) == (2, 7, 12)
    for wrong in ("5", "0", "-1", "13", "3,6", "6,3,12", "3,3,12", "a", "", "0,12"):
        with pytest.raises(ConfigError):
            parse_boundaries(wrong, 12)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 1), (-1, -1)])
def test_segments_count_from_one(first, last):
    with pytest.raises(ConfigError):
        Segment(first, last)
