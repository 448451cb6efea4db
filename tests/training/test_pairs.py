"""Mated pairs: who is compared with whom, and how alike the teachers find them."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.training import critic as module
from edge_fiqa.training.critic import pair_critic
from edge_fiqa.training.pairs import PARTNERS, MatedPairs, mated_pairs

# Rows: the clean faces of persons 0 (three), 1 (one), 2 (two); then degraded versions of the first two.
FACE = np.array([0, 1, 2, 3, 4, 5, 0, 1])
IDENTITY = np.array([0, 0, 0, 1, 2, 2, 0, 0])


def embeddings(seed=0, rows=8):
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float16)


def pairs_of(known=None, tables=None):
    known = np.ones(len(FACE), bool) if known is None else known
    return mated_pairs(tables or [embeddings()], FACE, IDENTITY, known, seed=0)


def test_a_row_meets_the_clean_other_faces_of_its_person():
    pairs = pairs_of()
    met = {(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)}
    assert met == {
        *((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)),
        *((4, 5), (5, 4)),
        *((6, 1), (6, 2)),  # the degraded version of face 0 does not meet face 0 itself
        *((7, 0), (7, 2)),
    }


def test_unknown_and_unreadable_rows_are_in_no_pair():
    known = np.ones(len(FACE), bool)
    known[[1, 4]] = False
    pairs = pairs_of(known)
    assert not np.isin([1, 4], np.concatenate([pairs.first, pairs.second])).any()
    assert 5 not in pairs.first  # its only partner is not known


def test_similarity_is_the_mean_of_standardised_cosines():
    tables = [embeddings(1), 100 * embeddings(2)]  # of any length
    pairs = pairs_of(tables=tables)
    wanted = []
    for table in tables:
        unit = table.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosine = (unit[pairs.first] * unit[pairs.second]).sum(1)
        wanted.append((cosine - cosine.mean()) / cosine.std())
    np.testing.assert_allclose(pairs.similarity, np.mean(wanted, 0), atol=1e-3)


def test_a_person_of_many_faces_gives_each_a_few_partners():
    rows = np.arange(40)
    known = np.ones(40, bool)
    pairs = mated_pairs([embeddings(rows=40)], rows, np.zeros(40, np.int64), known, seed=0)
    assert np.bincount(pairs.first).tolist() == [PARTNERS] * 40
    assert (pairs.first != pairs.second).all()


def test_persons_of_one_face_each_are_refused():
    known = np.ones(4, bool)
    with pytest.raises(ConfigError, match="two or more faces"):
        mated_pairs([embeddings(rows=4)], np.arange(4), np.arange(4), known, seed=0)


def test_the_critic_finds_what_each_face_adds(monkeypatch):
    """Similarity is the sum of two hidden qualities and noise; features tell the quality."""
    monkeypatch.setattr(module, "STEPS", 300)
    rng = np.random.default_rng(0)
    identity = np.arange(400).repeat(4)
    features = rng.normal(size=(1600, 12)).astype(np.float32)
    quality = features[:, :3].sum(1) / np.sqrt(3)
    known = np.ones(1600, bool)
    drawn = mated_pairs([features], np.arange(1600), identity, known, seed=0)
    noisy = quality[drawn.first] + quality[drawn.second] + 2 * rng.normal(size=len(drawn.first))
    pairs = MatedPairs(drawn.first, drawn.second, (noisy / noisy.std()).astype(np.float32))
    predicted = pair_critic(features, pairs, identity, known, seed=0)
    assert np.corrcoef(predicted, quality)[0, 1] > 0.9
    assert predicted.std() == pytest.approx(1, abs=1e-3)


def test_the_critic_judges_a_person_by_others_alone(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 200)
    identity = np.arange(20).repeat(6)
    features = np.eye(20, dtype=np.float32)[identity]  # they name the person and nothing else
    known = np.ones(120, bool)
    drawn = mated_pairs([embeddings(rows=120)], np.arange(120), identity, known, seed=0)
    own = np.random.default_rng(0).normal(size=20).astype(np.float32)
    pairs = MatedPairs(drawn.first, drawn.second, own[identity[drawn.first]])
    predicted = pair_critic(features, pairs, identity, known, seed=0)
    assert np.corrcoef(predicted, own[identity])[0, 1] < 0.3
