"""Gates from what may be lost, or from what may go wrong."""

import numpy as np
import pytest

from edge_fiqa.calibration.gate_table import kind_of_use, remaining_errors
from edge_fiqa.calibration.recommend import gate_for_fnmr, gate_for_reject_rate, gate_for_share
from edge_fiqa.errors import ConfigError


def names(count):
    return [str(row) for row in range(count)]


def use_of(quality):
    return kind_of_use(np.asarray(quality), names(len(quality)), name="door", images="faces")


def use_with_pairs(quality, fails):
    errors = remaining_errors(
        quality, fails, names(len(quality)), recogniser="r", fmr=1e-3, impostors=10_000
    )
    return kind_of_use(quality, names(len(quality)), name="door", images="faces", errors=errors)


def test_faces_without_a_score_are_lost_at_any_gate():
    with pytest.raises(ConfigError, match=r"50\.0% of the faces have no finite score"):
        gate_for_reject_rate(use_of([-1, 70]), 0.1)


def test_the_highest_gate_that_loses_no_more():
    use = use_of(np.arange(100))
    assert gate_for_reject_rate(use, 0.1) == 10
    assert gate_for_share(use, 0.9) == 10
    assert gate_for_reject_rate(use, 0.0) == 0
    assert gate_for_reject_rate(use_of(np.full(50, 40)), 0.5) == 40
    for share in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="a share of faces"):
            gate_for_share(use, share)
    with pytest.raises(ConfigError):
        gate_for_reject_rate(use, 1.0)


@pytest.mark.parametrize("share", [1 / 3, 2 / 3, 0.95])
def test_a_share_that_is_just_reached_counts(share):
    """Rates in the table are rounded."""
    quality = np.where(np.arange(300) < round(300 * share), 60, 20)
    assert gate_for_share(use_of(quality), share) == 60


def test_the_lowest_gate_that_is_good_enough():
    quality = np.arange(100)
    use = use_with_pairs(quality, quality < 30)
    assert gate_for_fnmr(use, 0.0) == 30
    assert gate_for_fnmr(use, 0.125) == 20  # 10 of the 80 left
    assert gate_for_fnmr(use, 0.5) == 0
    once_more = (quality < 10) | ((quality >= 60) & (quality < 70))
    rates = use_with_pairs(quality, once_more)  # 20 of 100, 10 of 90, and again 10 of 40
    assert gate_for_fnmr(rates, 0.2) == 63  # 7 of the 37 left; at 62 it is 8 of 38
    assert gate_for_fnmr(rates, 0.12) == 66  # 4 of 34
    with pytest.raises(ConfigError, match=r"no gate brings the FNMR to 0\.1.*best of 100 pairs"):
        gate_for_fnmr(use_with_pairs(quality, np.ones(100, bool)), 0.1)
    for fnmr in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="an FNMR lies"):
            gate_for_fnmr(use, fnmr)


def test_without_pairs_no_error_is_known():
    with pytest.raises(ConfigError, match="no pairs of door faces are known"):
        gate_for_fnmr(use_of([10, 20]), 0.1)
