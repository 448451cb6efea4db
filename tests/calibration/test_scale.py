"""The 0-100 scale, in both of its forms."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.scale import Quantile, Scale, Sigmoid, fit_scale, form_of
from edge_fiqa.errors import ConfigError

NORMAL = np.random.default_rng(0).normal(2.0, 0.5, 20_000).astype(np.float32)


@pytest.mark.parametrize("form", ["sigmoid", "quantile"])
def test_an_average_face_scores_50_and_the_scale_rises(form):
    scale = fit_scale(NORMAL, form)
    # Of a normal distribution, one deviation up is the 84th percentile in either form.
    np.testing.assert_allclose(scale.quality([2.0, 2.5, 1.5]), [50, 84, 16], atol=1)
    rising = scale.quality(np.linspace(-50, 50, 1001))
    assert (np.diff(rising) >= 0).all()
    assert (rising[0], rising[-1]) == (0, 100)


@pytest.mark.parametrize("tied", [2, 3, 4, 5, 40])
def test_gates_agree_with_qualities_where_scores_tie(tied):
    """The best of them are all alike: no face may have quality 100."""
    scores = np.minimum(np.arange(101.0), 101.0 - tied).astype(np.float32)
    scale = fit_scale(scores, "quantile")
    for gate in range(101):
        accepted = scores >= scale.score_of(gate)
        np.testing.assert_array_equal(accepted, scale.quality(scores) >= gate)


def test_quantile_is_the_share_of_faces_below():
    scores = np.random.default_rng(1).gamma(2.0, 1.0, 5000).astype(np.float32)
    quality = fit_scale(scores, "quantile").quality(scores)
    for level in (10, 50, 90):
        assert (quality < level).mean() == pytest.approx(level / 100, abs=0.01)


def test_pasted_ofiq_parameters():
    scale = Sigmoid(x0=20.0, w=5.0)
    expected = [round(100 / (1 + np.exp(-(x - 20) / 5))) for x in (3, 20, 31)]
    assert scale.quality([3, 20, 31]).tolist() == expected
    with pytest.raises(ConfigError, match="w > 0"):
        Sigmoid(0.0, -1.0)


@pytest.mark.parametrize("form", ["sigmoid", "quantile"])
@given(gate=st.integers(0, 100))
def test_a_gate_as_a_score_is_where_that_quality_begins(form, gate):
    scale = fit_scale(NORMAL, form)
    tau = scale.score_of(gate)
    if gate == 0:
        assert tau == -np.inf
        return
    below, above = scale.quality([tau - 1e-3, tau + 1e-3])
    assert below < gate <= above or (form == "quantile" and below <= gate <= above)


@pytest.mark.parametrize("form", ["sigmoid", "quantile"])
def test_files_keep_it(form):
    scale = fit_scale(NORMAL, form)
    again = msgspec.json.decode(msgspec.json.encode(scale), type=Scale)
    assert again == scale
    assert again.quality(NORMAL[:50]).tolist() == scale.quality(NORMAL[:50]).tolist()


def test_equal_scores_do_not_break_it():
    assert fit_scale(np.ones(5, np.float32)).quality(1.0) == 50


def test_a_scale_knows_its_form():
    assert [form_of(fit_scale(NORMAL, form)) for form in ("sigmoid", "quantile")] == [
        "sigmoid",
        "quantile",
    ]


@pytest.mark.parametrize("percent", [(0, 0), (50, 10), (-1, 50), (0, 101)])
def test_a_quantile_scale_rises_within_0_to_100(percent):
    with pytest.raises(ConfigError, match="rises from 0 to 100"):
        Quantile(Line((0.0, 1.0), tuple(map(float, percent))))


def test_the_average_face_by_hand():
    """Mean 2, deviation 1: one deviation up is 1.702 steps, 100 / (1 + exp(-1.702)) = 84.6."""
    scale = fit_scale(np.array([1, 3], np.float32), "sigmoid")
    assert (scale.x0, scale.w) == (2.0, pytest.approx(1 / 1.702, rel=1e-5))
    assert scale.quality([1.0, 2.0, 3.0]).tolist() == [15, 50, 85]
