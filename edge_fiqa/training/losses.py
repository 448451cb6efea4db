"""The terms of the training loss. Scores are (N, E), labels (N,) with NaN where unknown."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_fiqa.exits.fusion import depth_weights
from edge_fiqa.training.batches import Batch
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.student import Seen


def weighted_terms(
    schedule: Schedule, seen: Seen, batch: Batch, weights: Tensor
) -> dict[str, Tensor]:
    """The terms that a schedule switches on, each times its weight. weights: (E,) of the exits."""
    scores = seen.scores.float()
    terms = {"quality": regression(scores, batch.quality, weights)}
    if schedule.ranking:
        terms["ranking"] = schedule.ranking * ranking(scores, batch.quality, weights)
    if schedule.agreement and schedule.supervision != "last":
        leader = scores @ weights if schedule.follow == "fused" else scores[:, -1]
        terms["agreement"] = schedule.agreement * agreement(scores, leader)
    if schedule.causes and batch.causes is not None:
        terms["causes"] = schedule.causes * causes(seen.causes.float(), batch.causes)
    if schedule.distil and seen.embeddings:
        terms["distil"] = schedule.distil * _directions(seen.embeddings, batch.embeddings)
    if schedule.maps and seen.maps:
        terms["maps"] = schedule.maps * _directions(seen.maps, batch.maps)
    return terms


def regression(scores: Tensor, quality: Tensor, weights: Tensor) -> Tensor:
    """Smooth-L1 to the label, exits weighted by `weights` (E,)."""
    known = ~torch.isnan(quality)
    target = quality[known, None].expand(-1, scores.shape[1])
    return F.smooth_l1_loss(scores[known], target, reduction="none").mean(0) @ weights


def ranking(scores: Tensor, quality: Tensor, weights: Tensor) -> Tensor:
    """RankNet over all pairs of the batch, pairs weighted by how far their labels are apart (up to 1):
    what counts is which face goes first, and near-equal labels are noise."""
    known = ~torch.isnan(quality)
    scores, quality = scores[known], quality[known]
    gap = quality[:, None] - quality[None]
    importance = gap.clamp(0, 1)
    apart = scores[:, None] - scores[None]  # (N, N, E)
    each = (F.softplus(-2 * apart) * importance[..., None]).sum((0, 1))
    return each @ weights / importance.sum().clamp_min(1e-6)


def agreement(scores: Tensor, leader: Tensor) -> Tensor:
    """Every exit follows the leader (N,), which is the better judge and learns nothing from this."""
    return F.smooth_l1_loss(scores, leader.detach()[:, None].expand_as(scores))


def causes(logits: Tensor, strengths: Tensor) -> Tensor:
    """Cross-entropy of every cause's strength in [0, 1] at every exit: logits (N, E, D), strengths
    (N, D) with NaN where unknown."""
    known = ~torch.isnan(strengths)
    target = torch.where(known, strengths, torch.zeros_like(strengths))
    each = F.binary_cross_entropy_with_logits(
        logits, target[:, None].expand_as(logits), reduction="none"
    )
    return (each * known[:, None]).sum() / (known.sum() * logits.shape[1]).clamp_min(1)


def direction(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - cosine over the last axis, averaged over the others."""
    return (1 - F.cosine_similarity(predicted, target, dim=-1)).mean()


def _directions(predicted: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The mean over the teachers."""
    each = [direction(p.float(), t) for p, t in zip(predicted, targets, strict=True)]
    return torch.stack(each).mean()


def supervision(kind: str, depth: int) -> Tensor:
    """(E,) weights of the exits in the loss, summing to 1."""
    if kind == "depth":
        return torch.from_numpy(depth_weights(depth))
    if kind == "equal":
        return torch.full((depth,), 1 / depth)
    weights = torch.zeros(depth)
    weights[-1] = 1
    return weights
