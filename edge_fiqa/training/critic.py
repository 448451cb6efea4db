"""Labels with less noise: what the teachers' own features say of a face's label.

A label compares a face with the few other faces of its person; much of it is about *those*. A small
network that reads the teachers' features cannot know the other faces, so its prediction keeps the
face's own part. It is cross-fitted: every face is judged by a network that never saw its person.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_fiqa.training.labels import Ints, standardise
from edge_fiqa.training.store import Stack
from edge_fiqa.types import Array

FOLDS, STEPS, HIDDEN, BATCH = 5, 600, 128, 512


def critic(features: Array, labels: Array, identity: Ints, clean: Ints, seed: int) -> Array:
    """(M,) labels as predicted from features (M, K); standardised.

    labels: (M,), NaN where unknown; clean: rows that are not degraded, half of every batch.
    """
    generator = torch.Generator().manual_seed(seed)
    fold = np.random.default_rng(seed).permutation(identity.max() + 1)[identity] % FOLDS
    x = torch.from_numpy(standardise_columns(features))
    y = torch.from_numpy(labels)
    known, is_clean = ~np.isnan(labels), np.zeros(len(labels), bool)
    is_clean[clean] = True
    found = torch.empty(len(x))
    for held in range(FOLDS):
        seen = known & (fold != held)
        pools = [np.flatnonzero(seen & kind) for kind in (is_clean, ~is_clean)]
        network = _fit(x, y, [torch.from_numpy(p) for p in pools if len(p)], generator)
        rows = torch.from_numpy(np.flatnonzero(fold == held))
        with torch.inference_mode():
            found[rows] = network(x[rows])[:, 0]
    return standardise(found.numpy())


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


def _fit(x: Tensor, y: Tensor, pools: list[Tensor], generator: torch.Generator) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(x.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, 1),
        )
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.3)
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * (1 - step / STEPS)
            rows = torch.cat([p[torch.randint(len(p), (BATCH // len(pools),))] for p in pools])
            loss = F.smooth_l1_loss(network(x[rows])[:, 0], y[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network.eval()
