"""The 0-100 scale: moments matched at every depth."""

import numpy as np
import pytest

from edge_fiqa.calibration.scale import Moments, measure_moments
from edge_fiqa.fusion import RULES, fuse


def test_an_average_face_scores_50_and_the_scale_rises():
    moments = Moments((2.0,), (0.5,))
    assert moments.quality(2.0, 1) == 50
    # The logistic curve follows the normal distribution: one deviation is the 84th percentile.
    assert moments.quality(2.5, 1) == pytest.approx(84, abs=1)
    assert moments.quality(1.5, 1) == pytest.approx(16, abs=1)
    scores = [moments.quality(x, 1) for x in np.linspace(-50, 50, 101)]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0, 100)
    assert all(isinstance(q, int) for q in scores)


def test_every_depth_has_the_same_distribution_on_the_calibration_faces():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(500, 1))
    trail = (truth * np.linspace(0.5, 2, 6) + np.arange(6)).astype(np.float32)
    moments = measure_moments(trail)
    assert set(moments) == set(RULES)
    for rule in RULES:
        for depth in range(1, 7):
            fused = fuse(trail, depth, rule)
            z = (fused - moments[rule].mean[depth - 1]) / moments[rule].deviation[depth - 1]
            assert z.mean() == pytest.approx(0, abs=1e-3)
            assert z.std() == pytest.approx(1, abs=1e-3)


def test_constant_scores_do_not_divide_by_zero():
    moments = measure_moments(np.ones((5, 2), np.float32))["FW"]
    assert moments.quality(1.0, 1) == 50
