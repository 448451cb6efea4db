"""Costs: the published GFLOPs, and the load factor."""

import numpy as np
import pytest

from edge_fiqa.exits.cost import CostTable, LoadFactor, saved, segment_gflops
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


def test_every_multiply_add_of_a_small_network():
    """144 patches, width 16: products of a block by hand."""
    small = VitConfig(mode="crfiqa", width=16, depth=2, heads=2)
    block = 144 * 16 * 16 * (3 + 1 + 4 + 4) + 2 * 144 * 144 * 16  # qkv, proj, MLP; two of attention
    head, stem = 144 * 16, 144 * (3 * 9 * 9) * 16
    expected = 2e-9 * (stem + 2 * (block + head))
    assert segment_gflops(small, Segment(1, 2)) == pytest.approx(expected, rel=1e-12)
    assert segment_gflops(small, Segment(2, 2)) == pytest.approx(2e-9 * (block + head), rel=1e-12)


def test_every_multiply_add_of_a_tail():
    """Keys and values of 145 tokens; query, projection, MLP, attention and head of one."""
    of_one = 512 * 512 * (1 + 1 + 4 + 4) + 2 * 145 * 512
    expected = 2e-9 * (2 * 145 * 512 * 512 + of_one + 512)
    assert segment_gflops(TOKEN, Segment(2, 2, tail=True)) == pytest.approx(expected, rel=1e-12)


def test_what_stopping_early_saves_against_full_depth_in_one_go():
    """Two faces, one stops behind block 1: (1 + 2) / 2 of 2 GFLOPs, (2 + 6) / 2 of 5 ms."""
    first, second, whole = Segment(1, 1), Segment(2, 2), Segment(1, 2)
    gflops, ms = {first: 1.0, second: 1.0, whole: 2.0}, {first: 2.0, second: 4.0, whole: 5.0}
    assert saved(CostTable(ms, gflops), np.array([1, 2])) == pytest.approx((0.25, 0.2))
    assert saved(CostTable({first: 2.0}, gflops), np.array([1, 1])) == (pytest.approx(0.5), None)
    # Three faces stop at 1 and one at 2: (3 + 2) / 4 of 2 GFLOPs, (3 * 2 + 6) / 4 of 5 ms.
    depths = np.array([1, 1, 2, 1])
    assert saved(CostTable(ms, gflops), depths) == pytest.approx((0.375, 0.4))


def test_millijoules_are_not_milliseconds():
    one = Segment(1, 1)
    table = CostTable.of(TOKEN, [one], {one: 2.0}, {one: 7.0})
    assert (table.ms_of([one]), table.mj_of([one])) == (2.0, 7.0)
    assert CostTable.of(TOKEN, [one], {one: 2.0}).mj_of([one]) is None


def test_an_unmeasured_segment_makes_the_route_unknown():
    one, two = Segment(1, 1), Segment(2, 2)
    table = CostTable({one: 2.0}, {one: 1.0, two: 1.0})
    assert table.ms_of([one]) == 2.0
    assert table.ms_of([one, two]) is None
    assert table.gflops_of([one, two]) == 2.0


def test_load_factor_converges_and_resists_outliers():
    load = LoadFactor()
    load.observe(1.0, 1000.0)
    assert load.value == pytest.approx(4**0.1)
    hasty = LoadFactor(share=0.5)
    hasty.observe(1000.0, 1.0)
    assert hasty.value == pytest.approx(0.25**0.5)
    for _ in range(200):
        load.observe(1.0, 2.0)
    assert load.value == pytest.approx(2.0, rel=0.01)
    for _ in range(200):
        load.observe(1.0, 1.0)
    assert load.value == pytest.approx(1.0, rel=0.01)
    load.observe(0.0, 1.0)
    load.observe(1.0, 0.0)
    assert load.value == pytest.approx(1.0, rel=0.01)
