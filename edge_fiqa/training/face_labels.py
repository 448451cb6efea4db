"""Gives each face of a list its label: from its identity, the critic and the quality teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_fiqa.evaluation.recognition import unit
from edge_fiqa.training.critic import critic, features_of, pair_critic
from edge_fiqa.training.labels import LABELS, Bools, Ints, standardise
from edge_fiqa.training.pairs import mated_pairs
from edge_fiqa.training.pictures import FaceList
from edge_fiqa.training.store import Stack
from edge_fiqa.types import Array

PAIRS = "pair_similarity"


@dataclass(frozen=True)
class Labelling:
    """How teachers' outputs become one label a face.

    label: a formula of labels.py, or pair_similarity, which the critic solves for.
    smoothing: the critic's share of the identity's label; all of it where a face has none.
    shares: of the label, for every quality teacher.
    """

    label: str = "certainty_ratio"
    smoothing: float = 0.0
    shares: tuple[float, ...] = ()
    seed: int = 0


def label_faces(
    faces: FaceList,
    rows: Ints,
    usable: Bools,
    embeddings: Sequence[Stack],
    maps: Sequence[Stack | None],
    scores: Sequence[Stack],
    labelling: Labelling,
) -> Array:
    """(M,) the label: of the identity and the critic, and of the quality teachers.

    rows: (M,) which face each row shows, the clean ones first; usable: (M,).
    """
    if labelling.label == PAIRS:
        quality = _pair_labels(faces, rows, usable, embeddings, maps, labelling.seed)
    else:
        quality = _identity_labels(faces, rows, usable, embeddings, maps, labelling)
    given = [np.where(usable, table[:][:, 0].astype(np.float32), np.nan) for table in scores]
    own = 1 - sum(labelling.shares)
    parts = [(own, quality), *zip(labelling.shares, map(standardise, given), strict=True)]
    quality = np.sum([share * part for share, part in parts if share], axis=0)
    quality[~usable] = np.nan
    return np.asarray(standardise(quality), np.float32)


def _pair_labels(
    faces: FaceList,
    rows: Ints,
    usable: Bools,
    embeddings: Sequence[Stack],
    maps: Sequence[Stack | None],
    seed: int,
) -> Array:
    """(M,) what each face adds to the similarity of its pairs, as the critic reads it."""
    known = faces.labelled[rows] & usable
    pairs = mated_pairs(embeddings, rows, faces.identity[rows], known, seed)
    clean = np.arange(len(rows)) < len(faces)
    return pair_critic(_features(embeddings, maps), pairs, faces.identity[rows], clean, seed)


def _identity_labels(
    faces: FaceList,
    rows: Ints,
    usable: Bools,
    embeddings: Sequence[Stack],
    maps: Sequence[Stack | None],
    labelling: Labelling,
) -> Array:
    """(M,) the formula's labels, smoothed by the critic; its own where no identity gives one."""
    quality = identity_labels(embeddings, faces, rows, usable, labelling.label)
    if not labelling.smoothing:
        return quality
    clean = np.flatnonzero(usable[: len(faces)])
    features = _features(embeddings, maps)
    smooth = critic(features, quality, faces.identity[rows], clean, labelling.seed)
    mixed = (1 - labelling.smoothing) * quality + labelling.smoothing * smooth
    return standardise(np.where(np.isnan(quality), smooth, mixed))


def _features(embeddings: Sequence[Stack], maps: Sequence[Stack | None]) -> Array:
    return np.concatenate([features_of(e, m) for e, m in zip(embeddings, maps, strict=True)], 1)


def identity_labels(
    embeddings: Sequence[Stack], faces: FaceList, rows: Ints, usable: Bools, label: str
) -> Array:
    """(M,) mean of the teachers' labels, each standardised; NaN where no identity gives one.

    A face without a name is nobody's other: it may be of a person whose name is known.
    """
    known = faces.labelled & usable[: len(faces)]
    identity = np.unique(faces.identity[known], return_inverse=True)[1]
    place = np.cumsum(known) - 1  # of a face among the known ones
    shown = np.flatnonzero(known[rows])
    version = _occurrences(rows)[shown]
    found = []
    for embedding in embeddings:
        table = np.full((known.sum(), version.max() + 1, embedding.shape[1]), np.nan, np.float32)
        table[place[rows[shown]], version] = unit(embedding[shown].astype(np.float32))
        found.append(standardise(LABELS[label](table[:, 0], table, identity)))
    quality = np.full(len(rows), np.nan, np.float32)
    quality[shown] = np.mean(found, axis=0)[place[rows[shown]], version]
    return standardise(quality)


def _occurrences(rows: Ints) -> Ints:
    """(M,) how often the same number stood before."""
    order = np.argsort(rows, kind="stable")
    first = np.searchsorted(rows[order], rows[order])
    count = np.empty(len(rows), np.int64)
    count[order] = np.arange(len(rows)) - first
    return count
