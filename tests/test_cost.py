"""Costs: the published GFLOPs, and the load factor."""

import pytest

from edge_fiqa.cost import CostTable, LoadFactor, segment_gflops
from edge_fiqa.types import Segment, VitConfig

TOKEN, CRFIQA = VitConfig(mode="token"), VitConfig(mode="crfiqa")


@pytest.mark.parametrize("k", [1, 6, 12])
def test_token_mode_costs_what_was_published(k):
    assert segment_gflops(TOKEN, Segment(1, k)) == pytest.approx(0.036 + 0.9553 * k, rel=2e-3)


def test_folding_makes_the_crfiqa_heads_free():
    """0.036 + 0.9484 k for the blocks; 73,728 multiply-adds for each folded head."""
    head = 2 * 73_728e-9
    expected = 0.036 + 12 * (0.9484 + head)
    assert segment_gflops(CRFIQA, Segment(1, 12)) == pytest.approx(expected, rel=1e-3)


def test_a_tail_needs_76_of_478_million_multiply_adds():
    body, tail = (segment_gflops(TOKEN, Segment(2, 2, tail)) / 2e-3 for tail in (False, True))
    assert body == pytest.approx(478, abs=1)
    assert tail == pytest.approx(79, abs=1)  # 76 for keys and values, 3 for the one token


def test_an_unmeasured_segment_makes_the_route_unknown():
    one, two = Segment(1, 1), Segment(2, 2)
    table = CostTable({one: 2.0}, {one: 1.0, two: 1.0})
    assert table.ms_of([one]) == 2.0
    assert table.ms_of([one, two]) is None
    assert table.gflops_of([one, two]) == 2.0


def test_load_factor_converges_and_resists_outliers():
    load = LoadFactor()
    load.observe(1.0, 1000.0)
    assert load.value < 1.2
    for _ in range(200):
        load.observe(1.0, 2.0)
    assert load.value == pytest.approx(2.0, rel=0.01)
    for _ in range(200):
        load.observe(1.0, 1.0)
    assert load.value == pytest.approx(1.0, rel=0.01)
    load.observe(0.0, 1.0)
    load.observe(1.0, 0.0)
    assert load.value == pytest.approx(1.0, rel=0.01)
