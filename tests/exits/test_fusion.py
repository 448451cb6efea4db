"""Fusion by hand: weights, renormalisation, and scores that are not numbers."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import depth_weights, fuse, parse_fusion

TRAIL = np.array([[1.0, 2.0, 6.0, 3.0]], np.float32)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FW", (1 * 1 + 2 * 2 + 3 * 6 + 4 * 3) / 10),
        ("F", 3.0),
        ("last", 3.0),
        ("max", 6.0),
        ("median", 2.5),
        ((1.0, 0.0, 1.0, 0.0), 3.5),
    ],
)
def test_every_rule_at_full_depth(rule, expected):
    assert fuse(TRAIL, 4, rule)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FW", 5 / 3),
        ("F", 1.5),
        ("last", 2.0),
        ("max", 2.0),
        ("median", 1.5),
        ((3.0, 1, 9, 9), 1.25),
    ],
)
def test_weights_are_renormalised_over_the_exits_that_ran(rule, expected):
    stopped = TRAIL.copy()
    stopped[0, 2:] = np.nan
    assert fuse(stopped, 2, rule)[0] == pytest.approx(expected)


def test_weights_of_the_paper():
    np.testing.assert_allclose(depth_weights(12), np.arange(1, 13) / 78, rtol=1e-6)


def test_each_face_has_its_own_depth():
    trail = np.array([[1, 5, 9], [1, 5, 9], [1, 5, 9]], np.float32)
    assert fuse(trail, np.array([1, 2, 3]), "F").tolist() == [1, 3, 5]


@pytest.mark.parametrize("rule", ["FW", "F", "last", "max", "median", (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_score_is_never_averaged_away(rule, broken):
    trail = np.array([[1.0, broken, 3.0]], np.float32)
    if rule == "last":
        trail = trail[:, [0, 2, 1]]
    assert np.isnan(fuse(trail, 3, rule)[0])


@pytest.mark.parametrize("rule", ["FW", "last", "median"])
def test_no_exit_no_score(rule):
    assert np.isnan(fuse(TRAIL, 0, rule)[0])
    assert fuse(np.empty((0, 4), np.float32), np.empty(0, int), rule).shape == (0,)


def test_parse_fusion():
    assert parse_fusion("FW", 3) == "FW"
    assert parse_fusion("1,0,2.5", 3) == (1.0, 0.0, 2.5)
    for wrong in ("fw", "1,2", "1,x,2", "0,1,1", "1,-1,1", "1,nan,1", ""):
        with pytest.raises(ConfigError):
            parse_fusion(wrong, 3)
