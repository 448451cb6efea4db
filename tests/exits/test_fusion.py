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
    assert depth_weights(12).dtype == np.float32


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


@pytest.mark.parametrize("rule", ["FW", "F", "last", "max", "median", (1.0, 1.0)])
def test_a_broken_score_spoils_its_own_face_alone(rule):
    trail = np.array([[1.0, 1.0], [np.inf, 1.0], [2.0, 2.0]], np.float32)
    np.testing.assert_array_equal(fuse(trail, 2, rule), [1, np.nan, 2])


@pytest.mark.parametrize("rule", ["FW", "last", "median"])
def test_no_exit_no_score(rule):
    assert np.isnan(fuse(TRAIL, 0, rule)[0])
    assert fuse(np.empty((0, 4), np.float32), np.empty(0, int), rule).shape == (0,)


def test_parse_fusion():
    assert parse_fusion("FW", 3) == "FW"
    assert parse_fusion("1,0,2.5", 3) == (1.0, 0.0, 2.5)


NO_RULE = "is not one of FW, F, last, max, median nor a list of 3 weights"
NEGATIVE = "fusion weights must be finite and not negative, got"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fw", f"fusion 'fw' {NO_RULE}"),
        ("", f"fusion '' {NO_RULE}"),
        ("1,x,2", f"fusion '1,x,2' {NO_RULE}"),
        ("1,2", "fusion has 2 weights, the model has 3 exits"),
        ("1,-1,1", f"{NEGATIVE} [1.0, -1.0, 1.0]"),
        ("1,nan,1", f"{NEGATIVE} [1.0, nan, 1.0]"),
        ("0,1,1", "the first fusion weight must be positive: a face may stop at exit 1, "
         "and its score would be undefined"),
    ],
)  # fmt: skip
def test_what_is_no_fusion_is_refused_with_the_reason(text, reason):
    with pytest.raises(ConfigError) as refused:
        parse_fusion(text, 3)
    assert str(refused.value) == reason


def test_a_mean_of_large_scores_is_taken_in_double_precision():
    """In float32, 2 ** 24 + 1 is 2 ** 24: the small score would be lost."""
    trail = np.array([[2.0**24, 1.0, -(2.0**24)]], np.float32)
    assert fuse(trail, 3, (1.0, 1.0, 1.0))[0] == pytest.approx(1 / 3, rel=1e-6)


@pytest.mark.parametrize("rule", ["FW", "F", "last", "max", "median", (1.0, 1.0, 1.0, 1.0)])
@pytest.mark.parametrize("depth", [0, 3, np.array([3]), np.array([0])])
def test_fused_scores_are_float32(rule, depth):
    assert fuse(TRAIL, depth, rule).dtype == np.float32
