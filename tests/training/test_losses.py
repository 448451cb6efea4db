"""Every term of the loss from its definition."""

import math

import pytest
import torch

from edge_fiqa.training import losses
from edge_fiqa.training.batches import Batch
from edge_fiqa.training.losses import supervision
from edge_fiqa.training.pace import pace
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.student import Seen

BY_DEPTH = torch.tensor([1 / 3, 2 / 3])
NAN = float("nan")


def test_regression_counts_every_exit_by_depth_and_skips_faces_without_label():
    scores = torch.tensor([[3.0, 1.0], [9.0, 9.0]])
    quality = torch.tensor([1.0, NAN])
    # Smooth-L1 of 2 is 1.5, of 0 is 0; weights 1/3 and 2/3.
    assert float(losses.regression(scores, quality, BY_DEPTH)) == pytest.approx(0.5)
    scores = torch.tensor([[1.0, 3.0]])
    assert float(losses.regression(scores, quality[:1], BY_DEPTH)) == pytest.approx(1.0)


def test_ranking_by_hand():
    scores = torch.tensor([[0.0, 1.0], [0.5, 0.0], [7.0, 7.0]])
    quality = torch.tensor([0.3, 0.0, NAN])
    # One ordered pair (0 above 1) of weight 0.3, over its own weight: softplus(-2 (s0 - s1)).
    expected = [math.log1p(math.exp(-2 * gap)) for gap in (-0.5, 1.0)]
    found = float(losses.ranking(scores, quality, BY_DEPTH))
    assert found == pytest.approx(expected[0] / 3 + expected[1] * 2 / 3, abs=1e-6)
    same = float(losses.ranking(scores + 5, quality, BY_DEPTH))
    assert same == pytest.approx(found, abs=1e-6)


def test_equal_labels_rank_nothing():
    assert float(losses.ranking(torch.randn(4, 2), torch.ones(4), BY_DEPTH)) == 0


def test_agreement_pulls_exits_to_the_fused_score_and_never_the_other_way():
    scores = torch.tensor([[0.0, 3.0]], requires_grad=True)
    losses.agreement(scores, scores @ BY_DEPTH).backward()
    # Fused 2: exit 1 is pulled up, exit 2 down, each by its own distance only (smooth-L1, mean of 2).
    assert scores.grad[0].tolist() == pytest.approx([-0.5, 0.5])
    assert float(losses.agreement(torch.full((1, 2), 2.0), torch.tensor([2.0]))) == 0


def test_exits_that_follow_the_last_one_leave_it_free():
    scores = torch.tensor([[0.0, 3.0]], requires_grad=True)
    nothing = torch.full((1,), NAN)
    batch = Batch(torch.empty(1, 3, 112, 112), nothing, [], [], None)
    seen = Seen(scores, torch.empty(1, 2, 0), [], [])
    schedule = Schedule(follow="last", ranking=0, agreement=1)
    losses.weighted_terms(schedule, seen, batch, BY_DEPTH)["agreement"].backward()
    assert scores.grad[0].tolist() == pytest.approx([-0.5, 0.0])


def test_direction_is_blind_to_length():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert float(losses.direction(3 * a, a)) == pytest.approx(0, abs=1e-6)
    assert float(losses.direction(a, torch.tensor([[0.0, 5.0], [0.0, 1.0]]))) == pytest.approx(0.5)


def test_supervision():
    assert supervision("depth", 3).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert supervision("equal", 4).tolist() == [0.25] * 4
    assert supervision("last", 3).tolist() == [0, 0, 1]


def test_pace():
    values = [pace(Schedule(steps=100, warmup=0.1), step) for step in range(101)]
    assert max(values) == pytest.approx(1.0)
    assert values.index(max(values)) == 10
    assert values[0] < 0.05
    assert values[-1] == pytest.approx(0.01)


def test_causes_are_a_cross_entropy_over_what_is_known():
    logits = torch.tensor([[[0.0, 2.0]], [[1.0, -3.0]]])
    strengths = torch.tensor([[0.5, 1.0], [float("nan"), 0.0]])
    expected = -(math.log(0.5) - math.log1p(math.exp(-2)) - math.log1p(math.exp(-3))) / 3
    assert float(losses.causes(logits, strengths)) == pytest.approx(expected, rel=1e-5)
    unknown = torch.full((2, 2), float("nan"))
    assert float(losses.causes(logits, unknown)) == 0
