"""Pairs of faces of one person, and how alike the teachers find them: what a pair label learns from.

A mated comparison fails when one of its two faces is poor. Its similarity is taken as the sum of the
two faces' qualities, which critic.py solves for all faces at once: a face's partners explain their
own part of every similarity, instead of adding noise to that of the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import unit
from edge_fiqa.training.labels import Bools, Ints, standardise
from edge_fiqa.training.store import Stack
from edge_fiqa.types import Array

PARTNERS = 6  # clean faces of the same person that a row is compared with, at most
AT_ONCE = 8192  # pairs


@dataclass(frozen=True)
class MatedPairs:
    """first: (P,) rows of any version; second: (P,) clean rows of other faces of the same persons;
    similarity: (P,) mean over the teachers of their standardised cosines."""

    first: Ints
    second: Ints
    similarity: Array


def mated_pairs(
    embeddings: Sequence[Array | Stack], face: Ints, identity: Ints, known: Bools, seed: int
) -> MatedPairs:
    """Every row with up to six clean rows of its person's other faces.

    embeddings: (M, F) per teacher, of any length; face: (M,) which face a row shows, where the first
    row of a face is its clean one; identity: (M,); known: (M,) named and readable. Raises ConfigError
    if no person has two faces.
    """
    first, second = _partners(face, identity, known, np.random.default_rng(seed))
    if not len(first):
        raise ConfigError("label pair_similarity needs persons with two or more faces")
    each = [standardise(_cosines(table, first, second)) for table in embeddings]
    return MatedPairs(first, second, np.mean(each, axis=0).astype(np.float32))


def _partners(
    face: Ints, identity: Ints, known: Bools, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    clean = np.zeros(len(face), bool)
    clean[np.unique(face, return_index=True)[1]] = True
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(identity[rows], kind="stable")]
    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for person in np.split(rows, np.flatnonzero(np.diff(identity[rows])) + 1):
        others = person[clean[person]]
        for row in person:
            partners = others[face[others] != face[row]]
            if len(partners) > PARTNERS:
                partners = rng.choice(partners, PARTNERS, replace=False)
            first.append(np.full(len(partners), row))
            second.append(partners)
    return np.concatenate(first), np.concatenate(second)


def _cosines(table: Array | Stack, first: Ints, second: Ints) -> Array:
    """(P,) cosine of the embeddings of two rows."""
    return np.concatenate(
        [
            np.einsum(
                "pf,pf->p",
                *(
                    unit(table[rows[start : start + AT_ONCE]].astype(np.float32))
                    for rows in (first, second)
                ),
            )
            for start in range(0, len(first), AT_ONCE)
        ]
    )
