"""What is known of the causes in a picture."""

import numpy as np
import pytest

pytest.importorskip("kornia", reason="kornia is not installed: pip install 'edge-fiqa[train]'")

from edge_fiqa.training.cause_targets import cause_targets
from edge_fiqa.training.degradations.table import DEGRADATIONS

NAMES = list(DEGRADATIONS)


def added(count, **strengths):
    """(count, D) of causes that were added to all pictures."""
    found = np.zeros((count, len(NAMES)), np.float32)
    for name, strength in strengths.items():
        found[:, NAMES.index(name)] = strength
    return found


def test_a_made_turn_counts_beside_the_natural_one():
    strengths = added(4, noise=0.3)
    strengths[1:3, NAMES.index("yaw")] = 0.5
    turns = np.array([[0.2, 0.1], [0.7, 0.0], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
    causes = cause_targets(strengths, turns, np.zeros(4, bool))
    np.testing.assert_allclose(causes[:, NAMES.index("yaw")], [0.2, 0.7, 0.5, np.nan])
    np.testing.assert_allclose(causes[:, NAMES.index("pitch")], [0.1, 0, np.nan, np.nan])
    np.testing.assert_allclose(causes[:, NAMES.index("noise")], 0.3)
    others = [k for k, name in enumerate(NAMES) if name not in ("yaw", "pitch", "noise")]
    assert (causes[:, others] == 0).all()


def test_of_a_picture_with_defects_of_its_own_only_what_was_added_or_seen_is_known():
    strengths = added(2, noise=0.3)
    turns = np.array([[0.2, 0.1], [0.2, np.nan]], np.float32)
    causes = cause_targets(strengths, turns, np.array([True, True]))
    known = {"noise": [0.3, 0.3], "yaw": [0.2, 0.2], "pitch": [0.1, np.nan]}
    for column, name in enumerate(NAMES):
        np.testing.assert_allclose(causes[:, column], known.get(name, [np.nan] * 2))


def test_what_was_added_is_not_changed():
    strengths = added(1, noise=0.3)
    cause_targets(strengths, np.zeros((1, 2), np.float32), np.array([True]))
    assert (strengths == added(1, noise=0.3)).all()
