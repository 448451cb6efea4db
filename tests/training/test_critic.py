"""The critic: less noise than the labels it learned from, and never a judge of its own persons."""

import numpy as np
import pytest

from edge_fiqa.training import critic as module
from edge_fiqa.training.critic import critic, features_of


def noisy(seed=0, persons=300):
    """A truth that features tell, seen through noise that a person's faces share."""
    rng = np.random.default_rng(seed)
    identity = np.arange(persons).repeat(4)
    features = rng.normal(size=(4 * persons, 12)).astype(np.float32)
    truth = features[:, :3].sum(1) / np.sqrt(3)
    labels = (truth + rng.normal(size=persons)[identity]).astype(np.float32)
    return features, truth, labels, identity


def test_predictions_are_nearer_to_the_truth_than_the_labels(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 200)
    features, truth, labels, identity = noisy()
    labels[::7] = np.nan
    found = critic(features, labels, identity, np.arange(0, len(labels), 2), seed=0)
    known = ~np.isnan(labels)
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert np.corrcoef(labels[known], truth[known])[0, 1] < 0.8
    assert np.isfinite(found).all()
    assert found.std() == pytest.approx(1, abs=1e-3)


def test_a_person_is_judged_by_a_network_that_never_saw_it(monkeypatch):
    """Features that name the person would give its label away; cross-fitting must not use them."""
    monkeypatch.setattr(module, "STEPS", 200)
    identity = np.arange(20).repeat(6)
    features = np.eye(20, dtype=np.float32)[identity]
    labels = np.random.default_rng(0).normal(size=20).astype(np.float32)[identity]
    found = critic(features, labels, identity, np.arange(len(labels)), seed=0)
    assert np.corrcoef(found, labels)[0, 1] < 0.3


def test_a_seed_repeats(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 20)
    features, _, labels, identity = noisy()
    one, again = (critic(features, labels, identity, np.arange(9), seed=2) for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_features():
    embedding = np.array([[3, 4], [0, 2]], np.float16)
    inner = np.arange(16, dtype=np.float16).reshape(2, 2, 2, 2)
    found = features_of(embedding, inner)
    assert found.shape == (2, 2 + 1 + 4)
    np.testing.assert_allclose(found[0, :3], [0.6, 0.8, np.log(5)], rtol=1e-4)
    np.testing.assert_allclose(found[1, 3:], [9.5, 13.5, np.sqrt(1.25), np.sqrt(1.25)], rtol=1e-4)
