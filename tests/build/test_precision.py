"""What reduced precision costs."""

import msgspec
import numpy as np
import pytest

from edge_fiqa.build.precision import check_precision, compare, with_graph_difference
from edge_fiqa.calibration.fit import fit_calibration
from edge_fiqa.config import BuildRecipe
from edge_fiqa.errors import ConfigError


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 1)) + rng.normal(0, 0.3, (500, 3))).astype(np.float32)


@pytest.fixture(scope="module")
def calibration(reference):
    names = [str(row) for row in range(500)]
    return fit_calibration(
        reference, names, model="m", fingerprint="f", exits=(1, 2, 3), images="numbers"
    )


def test_the_same_scores_lose_nothing(reference, calibration):
    for row in compare(reference, reference, calibration):
        assert (row.max_abs_difference, row.agreement, row.within_a_point) == (0, 1, 1)
        assert row.spearman == pytest.approx(1)


def test_a_broken_exit_shows_at_that_exit_and_in_decisions_after_it(reference, calibration):
    found = reference.copy()
    found[:, 1] = -found[:, 1]
    one, two, three = compare(found, reference, calibration)
    assert (one.agreement, one.within_a_point) == (1, 1)
    assert two.spearman == pytest.approx(-1)
    assert two.agreement < 0.9
    assert three.spearman == pytest.approx(1)
    assert three.agreement < 1  # its fused score contains exit 2


def test_a_shift_keeps_the_order_and_moves_decisions(reference, calibration):
    row = compare(reference + 0.2, reference, calibration)[-1]
    assert row.spearman == pytest.approx(1)
    assert row.max_abs_difference == pytest.approx(0.2, abs=1e-5)
    assert row.agreement < 0.97
    assert row.within_a_point < 0.5


def test_faces_that_all_score_alike_show_no_order_and_are_refused_in_words(
    bundle, reference, calibration
):
    alike = np.zeros_like(reference)
    exits = compare(alike, alike, calibration)
    parity = msgspec.structs.replace(bundle.manifest.parity, exits=exits)
    manifest = msgspec.structs.replace(bundle.manifest, parity=parity)
    with pytest.raises(ConfigError, match=r"a rank correlation of 0\.0000 with float32"):
        check_precision(manifest, BuildRecipe(precision="bf16"))


def test_without_calibration_there_are_no_decisions(reference):
    assert {(r.agreement, r.within_a_point) for r in compare(reference, reference, None)} == {
        (None, None)
    }


def test_an_engine_is_held_against_its_own_graph(reference, calibration):
    rows = compare(reference, reference, calibration)
    differences = np.zeros((4, 3), np.float32)
    differences[0, 1] = -0.2
    zero, one, _ = with_graph_difference(rows, differences)
    assert (zero.rms_to_graph, zero.max_to_graph) == (0, 0)
    assert (one.rms_to_graph, one.max_to_graph) == pytest.approx((0.1, 0.2))
    assert one.agreement == rows[1].agreement
