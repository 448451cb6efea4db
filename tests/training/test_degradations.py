"""Degradations: strength 0 changes nothing, more strength changes more, seeds repeat."""

import numpy as np
import pytest

from edge_fiqa.cli.demo import portrait

pytest.importorskip("kornia", reason="kornia is not installed: pip install 'edge-fiqa[train]'")

from edge_fiqa.training.degradations import DEGRADATIONS, degrade, random_mixture

FACE = portrait()


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_strength(name):
    versions = [degrade(FACE, name, strength, seed=4) for strength in (0, 0.25, 0.5, 1)]
    changes = [np.abs(v.astype(int) - FACE).mean() for v in versions]
    assert changes[0] <= 0.5
    assert 0.5 < changes[1] < changes[2] < changes[3]
    assert all(v.shape == FACE.shape and v.dtype == np.uint8 for v in versions)
    np.testing.assert_array_equal(degrade(FACE, name, 0.5, seed=4), versions[2])


def test_the_original_and_the_callers_random_numbers_are_never_touched():
    import torch

    before, state = FACE.copy(), torch.random.get_rng_state()
    for seed in range(20):
        random_mixture(FACE, seed)
    np.testing.assert_array_equal(FACE, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_mixtures_repeat_with_their_seed_and_differ_without():
    one, again, other = (random_mixture(FACE, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_one_mixture_in_ten_is_no_degradation_at_all():
    same = [np.abs(random_mixture(FACE, s, most=0).astype(int) - FACE).max() for s in range(60)]
    # Without degradations what may remain is the photograph's border or missing colour.
    assert 0.4 < np.mean(np.array(same) <= 1) < 0.75


def test_blur_removes_detail_and_cast_keeps_it():
    def detail(image):
        return np.abs(np.diff(image.astype(int).sum(2), axis=1)).mean()

    assert detail(degrade(FACE, "defocus", 0.5, 0)) < 0.4 * detail(FACE)
    assert detail(degrade(FACE, "colour_cast", 0.5, 0)) > 0.6 * detail(FACE)
