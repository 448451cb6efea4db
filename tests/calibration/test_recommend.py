"""Gates from what may be lost, or from what may go wrong."""

import numpy as np
import pytest

from edge_fiqa.calibration.recommend import gate_for_fnmr, gate_for_reject_rate
from edge_fiqa.errors import ConfigError


def test_faces_without_a_score_are_lost_at_any_gate():
    with pytest.raises(ConfigError, match=r"50\.0% of the faces have no finite score"):
        gate_for_reject_rate(np.array([-1, 70]), 0.1)


def test_the_highest_gate_that_loses_no_more():
    quality = np.arange(100)
    assert gate_for_reject_rate(quality, 0.1) == 10
    assert gate_for_reject_rate(quality, 0.0) == 0
    assert gate_for_reject_rate(np.full(50, 40), 0.5) == 40
    with pytest.raises(ConfigError):
        gate_for_reject_rate(quality, 1.0)


def test_the_lowest_gate_that_is_good_enough():
    quality = np.arange(100)
    fails = quality < 30
    assert gate_for_fnmr(quality, fails, 0.0) == 30
    assert gate_for_fnmr(quality, fails, 0.125) == 20  # 10 of the 80 left
    assert gate_for_fnmr(quality, fails, 0.5) == 0
    with pytest.raises(ConfigError, match=r"no gate brings the FNMR to 0\.1.*best of 100 pairs"):
        gate_for_fnmr(quality, np.ones(100, bool), 0.1)
