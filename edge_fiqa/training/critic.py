"""Labels with less noise: what the teachers' own features say of a face's label.

A label compares a face with the few other faces of its person; much of it is about *those*. A small
network that reads the teachers' features cannot know the other faces, so its prediction keeps the
face's own part. It is cross-fitted: every face is judged by a network that never saw its person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_fiqa.training.labels import Bools, Ints, standardise
from edge_fiqa.training.pairs import MatedPairs
from edge_fiqa.training.store import Stack
from edge_fiqa.types import Array

FOLDS, STEPS, HIDDEN, BATCH = 5, 600, 128, 512
Loss = Callable[[nn.Module, Tensor], Tensor]  # of a network, for the numbers of the examples drawn


def critic(features: Array, labels: Array, identity: Ints, clean: Ints, seed: int) -> Array:
    """(M,) labels as predicted from features (M, K); standardised.

    labels: (M,), NaN where unknown; clean: rows that are not degraded, half of every batch.
    """
    x, y = torch.from_numpy(standardise_columns(features)), torch.from_numpy(labels)
    is_clean = np.zeros(len(labels), bool)
    is_clean[clean] = True

    def loss(network: nn.Module, rows: Tensor) -> Tensor:
        return F.smooth_l1_loss(network(x[rows])[:, 0], y[rows])

    known = ~np.isnan(labels)
    pools = [known & is_clean, known & ~is_clean]
    return _cross_fit(x, loss, pools, identity, identity, seed)


def pair_critic(
    features: Array, pairs: MatedPairs, identity: Ints, clean: Bools, seed: int
) -> Array:
    """(M,) qualities whose sum over a pair predicts its similarity, from features (M, K); standardised.

    clean: (M,) rows that are not degraded; pairs that begin with one are half of every batch.
    """
    x, y = torch.from_numpy(standardise_columns(features)), torch.from_numpy(pairs.similarity)
    first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)

    def loss(network: nn.Module, rows: Tensor) -> Tensor:
        both = network(torch.cat([x[first[rows]], x[second[rows]]]))[:, 0]
        return F.smooth_l1_loss(both[: len(rows)] + both[len(rows) :], y[rows])

    begins_clean = clean[pairs.first]
    pools = [begins_clean, ~begins_clean]
    return _cross_fit(x, loss, pools, identity[pairs.first], identity, seed)


def _cross_fit(
    x: Tensor, loss: Loss, pools: Sequence[Bools], person: Ints, identity: Ints, seed: int
) -> Array:
    """(M,) predictions for x (M, K), each by the network that saw no example of its person.

    pools: (P,) masks of the examples; a batch draws equally from each. person: (P,) of an example;
    identity: (M,) of a row.
    """
    generator = torch.Generator().manual_seed(seed)
    fold_of = np.random.default_rng(seed).permutation(identity.max() + 1) % FOLDS
    predicted = torch.empty(len(x))
    for held in range(FOLDS):
        seen = fold_of[person] != held
        drawn = [torch.from_numpy(np.flatnonzero(pool & seen)) for pool in pools]
        network = _fit(x.shape[1], loss, [pool for pool in drawn if len(pool)], generator)
        rows = torch.from_numpy(np.flatnonzero(fold_of[identity] == held))
        with torch.inference_mode():
            predicted[rows] = network(x[rows])[:, 0]
    return standardise(predicted.numpy())


def features_of(embedding: Array | Stack, inner: Array | Stack | None) -> Array:
    """(M, K): direction and log length of raw embeddings (M, F), mean and deviation over the places
    of a map (M, C, h, w)."""
    e = embedding[:].astype(np.float32)
    length = np.linalg.norm(e, axis=1, keepdims=True) + 1e-9
    parts = [e / length, np.log(length)]
    if inner is not None:
        pooled = [
            np.concatenate(
                [f(inner[i : i + 4096].astype(np.float32), (2, 3)) for f in (np.mean, np.std)], 1
            )
            for i in range(0, len(inner), 4096)
        ]
        parts.append(np.concatenate(pooled))
    return np.concatenate(parts, axis=1)


def standardise_columns(features: Array) -> Array:
    mean, deviation = features.mean(0), features.std(0)
    return np.asarray((features - mean) / (deviation + 1e-6), np.float32)


def _fit(width: int, loss: Loss, pools: list[Tensor], generator: torch.Generator) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(width, HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, 1),
        )
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.3)
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * (1 - step / STEPS)
            rows = torch.cat([p[torch.randint(len(p), (BATCH // len(pools),))] for p in pools])
            value = loss(network, rows)
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network.eval()
