"""The protocol of the papers: by hand, and against the numbers of their implementation."""

import json

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.crfiqa import DISCARDS, edc_crfiqa


@pytest.mark.parametrize("fmr", ["1e-2", "1e-3", "1e-4"])
def test_parity(parity, fmr):
    data = np.load(parity / "edc_crfiqa.npz")
    expected = json.loads((parity / "edc_crfiqa.json").read_text(encoding="utf-8"))
    curve = edc_crfiqa(data["similarity"], data["same"], data["pair_quality"], float(fmr))
    np.testing.assert_allclose(expected["discard"], DISCARDS, atol=1e-12)
    np.testing.assert_allclose(curve.fnmr, expected[f"fnmr@{fmr}"], atol=1e-9)
    assert curve.area() == pytest.approx(expected[f"auc@{fmr}"], abs=1e-9)


def test_the_threshold_moves_with_the_pairs_left():
    # Impostors .1 .2 .3 .6, of which the hard one (.6) has the worst quality; mated .4 .5 .7 .8.
    similarity = [0.1, 0.2, 0.3, 0.6, 0.4, 0.5, 0.7, 0.8]
    same, quality = [0] * 4 + [1] * 4, [5, 6, 7, 0, 1, 2, 3, 4]
    curve = edc_crfiqa(similarity, same, quality, fmr=0.25)
    # All pairs: FMR 1/4 is had at thresholds .4, .5, .6; of equally near ones the lowest, .4, and a
    # mated pair at the threshold counts as an error: 1 of 4.
    assert (curve.fnmr[0], curve.fmr[0]) == (0.25, 0.25)
    # From 15 % on the hard impostor is gone: impostors .1 .2 .3, nearest to 1/4 is 1/3 at .3.
    after = int(np.flatnonzero(DISCARDS >= 0.149)[0])
    assert curve.fnmr[after] == 0
    assert curve.fmr[after] == pytest.approx(1 / 3)
    assert curve.impostors[[0, after]].tolist() == [4, 3]


def test_where_one_kind_is_used_up_there_is_no_number():
    quality = [0, 1, 2, 3, 4, 5]
    curve = edc_crfiqa([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0, 0, 0, 1, 1, 1], quality, fmr=1 / 3)
    assert curve.fnmr[0] == 0
    gone = DISCARDS >= 0.5 - 1e-9
    assert np.isnan(curve.fnmr[gone]).all()
    assert np.isfinite(curve.fnmr[~gone]).all()
    assert np.isnan(curve.area(0.95))
    assert curve.area(0.15) == 0  # three impostors are left up to there


def test_equal_qualities_leave_in_the_order_given():
    similarity, same = [0.1, 0.9, 0.1, 0.9] * 5, [0, 1, 0, 1] * 5
    curve = edc_crfiqa(similarity, same, np.zeros(20), fmr=0.5)
    assert curve.impostors.tolist() == [
        (20 - int(d * 20) + (int(d * 20) % 2 == 0)) // 2 for d in DISCARDS
    ]


def test_what_the_impostors_left_resolve():
    rng = np.random.default_rng(0)
    similarity, same = rng.random(4000), np.arange(4000) % 2
    curve = edc_crfiqa(similarity, same, rng.random(4000), fmr=0.01)
    assert curve.resolves(0.01, limit=0.3)
    assert not curve.resolves(0.01)  # at a discard of 95 % about 100 impostors are left
    assert not curve.resolves(0.001, limit=0.05)


@pytest.mark.parametrize(
    ("similarity", "same", "quality", "said"),
    [
        ([0.1, 0.2], [1, 1], [1, 2], "one kind is missing"),
        ([0.1, 0.2], [0, 0], [1, 2], "one kind is missing"),
        ([], [], [], "one kind is missing"),
        ([0.1, 0.2], [0, 1], [1, np.nan], "finite"),
        ([np.inf, 0.2], [0, 1], [1, 2], "finite"),
        ([0.1, 0.2], [0, 1], [1], "lengths differ"),
    ],
)
def test_what_has_no_curve(similarity, same, quality, said):
    with pytest.raises(ConfigError, match=said):
        edc_crfiqa(similarity, same, quality, 0.01)


def test_a_limit_must_be_one():
    curve = edc_crfiqa([0.1, 0.9], [0, 1], [1, 2], 0.5)
    with pytest.raises(ConfigError, match="limit"):
        curve.area(0)
