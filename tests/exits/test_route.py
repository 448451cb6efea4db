"""Routes: which segments reach an exit."""

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.route import exits, parse_boundaries, route_to, segments_for
from edge_fiqa.types import Segment


def names(route):
    return [segment.name for segment in route]


def test_a_known_depth_is_one_segment():
    segments = segments_for((1, 2, 3, 4), tails=True)
    for depth in (1, 2, 3, 4):
        assert names(route_to(segments, depth)) == [f"tail-01-0{depth}"]


def test_in_steps_bodies_come_first_and_the_last_is_a_tail():
    segments = segments_for((1, 2, 3, 4), tails=True)
    steps = names(route_to(segments, 3, in_steps=True))
    assert steps == ["body-01-01", "body-02-02", "tail-03-03"]
    segments = segments_for((2, 4), tails=True)
    assert names(route_to(segments, 4, in_steps=True)) == ["body-01-02", "tail-03-04"]
    assert names(route_to(segments, 2, in_steps=True)) == ["tail-01-02"]


def test_the_fewest_segments_where_none_spans_it_all():
    segments = [Segment(1, 1), Segment(2, 2), Segment(2, 3), Segment(4, 4, tail=True)]
    assert names(route_to(segments, 4)) == ["body-01-01", "body-02-03", "tail-04-04"]


def test_modes_without_tails_use_bodies():
    segments = segments_for((1, 2), tails=False)
    assert names(route_to(segments, 1)) == ["body-01-01"]
    assert names(route_to(segments, 2)) == ["body-01-02"]
    assert names(route_to(segments, 2, in_steps=True)) == ["body-01-01", "body-02-02"]


def test_exits_are_the_ends_that_a_chain_reaches():
    assert exits(segments_for((3, 6, 9, 12), tails=True)) == (3, 6, 9, 12)
    assert exits([Segment(1, 2), Segment(4, 5)]) == (2,)
    assert exits([Segment(1, 1), Segment(2, 3)]) == (1, 3)
    assert exits([Segment(1, 2), Segment(2, 4)]) == (2,)  # block 2 would run twice


def test_an_exit_inside_a_segment_is_refused():
    with pytest.raises(ConfigError, match="can stop at exits 3, 6"):
        route_to(segments_for((3, 6), tails=True), 4)


def test_parse_boundaries():
    assert parse_boundaries("12", 12) == tuple(range(1, 13))
    assert parse_boundaries("4", 12) == (3, 6, 9, 12)
    assert parse_boundaries("1", 12) == (12,)
    assert parse_boundaries("2,7,12", 12) == (2, 7, 12)
    assert parse_boundaries("1,12", 12) == (1, 12)
    assert parse_boundaries("every 1", 4) == (1, 2, 3, 4)
    assert parse_boundaries("every 3", 12) == (3, 6, 9, 12)
    assert parse_boundaries("every 4", 6) == (4, 6)
    assert parse_boundaries("every 9", 6) == (6,)
    for wrong in ("5", "0", "-1", "13"):
        with pytest.raises(ConfigError) as refused:
            parse_boundaries(wrong, 12)
        reason = "do not divide 12 blocks evenly; list their last blocks, or say every N"
        assert str(refused.value) == f"{wrong} segments {reason}"
    for wrong in ("3,6", "6,3,12", "3,3,12", "0,12"):
        with pytest.raises(ConfigError) as refused:
            parse_boundaries(wrong, 12)
        reason = "must rise and end with the last block, 12; every N fits any depth"
        assert str(refused.value) == f"segment ends {wrong} {reason}"
    for wrong in ("a", "", "every", "every 0", "every -3", "every 3,6", "every 1.5"):
        with pytest.raises(ConfigError) as refused:
            parse_boundaries(wrong, 12)
        reason = (
            f"segments {wrong!r}: expected a count, every N blocks like every 3, or last blocks like "
            "3,6,9,12"
        )
        assert str(refused.value) == reason


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 1), (-1, -1)])
def test_segments_count_from_one(first, last):
    with pytest.raises(ConfigError):
        Segment(first, last)
