"""Degradations: strength 0 changes nothing, more strength changes more, seeds repeat."""

import numpy as np
import pytest

from edge_fiqa.cli.demo import portrait
from edge_fiqa.degrade import DEGRADATIONS, random_mixture

FACE = portrait()


def rng():
    return np.random.default_rng(4)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_strength(name):
    apply = DEGRADATIONS[name]
    versions = [apply(FACE, s, rng()) for s in (0, 0.25, 0.5, 1)]
    changes = [np.abs(v.astype(int) - FACE).mean() for v in versions]
    assert changes[0] <= 0.5
    assert changes[1] > 0.5
    assert changes[1] < changes[2] < changes[3]
    for version in versions:
        assert version.shape == FACE.shape
        assert version.dtype == np.uint8
    np.testing.assert_array_equal(apply(FACE, 0.5, rng()), versions[2])


def test_the_original_is_never_touched():
    before = FACE.copy()
    for seed in range(20):
        random_mixture(FACE, np.random.default_rng(seed))
    np.testing.assert_array_equal(FACE, before)


def test_mixtures_repeat_with_their_seed_and_differ_without():
    one, again, other = (random_mixture(FACE, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_blur_removes_detail_and_cast_keeps_it():
    def detail(image):
        return np.abs(np.diff(image.astype(int).sum(2), axis=1)).mean()

    assert detail(DEGRADATIONS["defocus"](FACE, 0.5, rng())) < 0.4 * detail(FACE)
    cast = DEGRADATIONS["colour_cast"](FACE, 0.5, rng())
    assert np.ptp(cast.reshape(-1, 3).mean(0) / FACE.reshape(-1, 3).mean(0)) > 0.1
