"""Lines that never fall."""

import numpy as np
import pytest

from edge_fiqa.calibration.monotone import KNOTS, Line, fit_monotone, fit_spread
from edge_fiqa.errors import ConfigError


def on(line, x):
    return np.interp(x, line.x, line.y)


def test_it_finds_a_monotone_relation_through_noise():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, 4000)
    line = fit_monotone(x, np.tanh(x) + rng.normal(0, 0.1, x.size))
    assert len(line.x) <= KNOTS <= 256
    assert (np.diff(line.x) > 0).all()
    assert (np.diff(line.y) >= 0).all()
    at = np.linspace(-1.9, 1.9, 50)
    np.testing.assert_allclose(on(line, at), np.tanh(at), atol=0.06)


def test_a_falling_relation_becomes_level():
    x = np.linspace(0, 1, 200)
    line = fit_monotone(x, -x)
    np.testing.assert_allclose(line.y, -0.5, atol=1e-6)


def test_equal_points_become_one():
    assert Line.through([1, 1, 2], [0, 4, 5]) == Line((1.0, 2.0), (2.0, 5.0))


def test_spread_follows_the_noise():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 20_000)
    line = fit_spread(x, rng.normal(0, 1, x.size) * (0.1 + x))
    assert on(line, 0.2) == pytest.approx(0.3, rel=0.1)
    assert on(line, 0.8) == pytest.approx(0.9, rel=0.1)


def test_no_residual_still_has_some_spread():
    line = fit_spread(np.linspace(0, 1, 100), np.zeros(100))
    assert min(line.y) > 0


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((), ()),
        ((1.0, 2.0), (1.0,)),
        ((1.0, 1.0), (1.0, 2.0)),
        ((2.0, 1.0), (1.0, 2.0)),
        ((1.0, float("nan")), (1.0, 2.0)),
        ((1.0, 1e31), (1.0, 2.0)),
        ((1.0, 2.0), (1.0, -1e31)),
        ((1.0, 2.0), (1.0, float("nan"))),
    ],
)
def test_what_is_no_line(x, y):
    with pytest.raises(ConfigError, match=r"a line (needs|ends)"):
        Line(x, y)
