"""Degradations: strength 0 changes nothing, more strength changes more, seeds repeat."""

import numpy as np
import pytest

from edge_fiqa.cli.demo import portrait

pytest.importorskip("kornia", reason="kornia is not installed: pip install 'edge-fiqa[train]'")

import torch

from edge_fiqa.training.degradations import pose
from edge_fiqa.training.degradations.table import DEGRADATIONS, degrade, random_mixture
from edge_fiqa.types import IMAGE

FACE = portrait()


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_strength(name):
    """In every form that it has, over twelve seeds."""
    for seed in range(12):
        versions = [degrade(FACE, name, strength, seed) for strength in (0, 0.25, 0.5, 1)]
        changes = [np.abs(v.astype(int) - FACE).mean() for v in versions]
        assert changes[0] <= 0.5
        assert 0.3 < changes[1] < 1.1 * changes[2] < 1.3 * changes[3]
        assert all(v.shape == FACE.shape and v.dtype == np.uint8 for v in versions)
        np.testing.assert_array_equal(degrade(FACE, name, 0.5, seed), versions[2])


@pytest.mark.parametrize(
    ("name", "untouched"),
    [("occlusion_upper", np.s_[94:]), ("occlusion_lower", np.s_[:46])],
)
def test_an_occlusion_stays_in_its_half(name, untouched):
    for seed in range(40):
        np.testing.assert_array_equal(degrade(FACE, name, 0.7, seed)[untouched], FACE[untouched])


@pytest.mark.parametrize(("name", "sign"), [("under_exposure", -1), ("over_exposure", 1)])
def test_an_exposure_has_its_direction(name, sign):
    for seed in range(12):
        assert sign * (degrade(FACE, name, 0.5, seed).mean() - FACE.mean()) > 15


def test_the_original_and_the_callers_random_numbers_are_never_touched():
    import torch

    before, state = FACE.copy(), torch.random.get_rng_state()
    for seed in range(20):
        random_mixture(FACE, seed)
    np.testing.assert_array_equal(FACE, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_mixtures_repeat_with_their_seed_and_differ_without():
    one, again, other = (random_mixture(FACE, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.pixels, again.pixels)
    np.testing.assert_array_equal(one.strengths, again.strengths)
    assert not np.array_equal(one.pixels, other.pixels)


def test_one_mixture_in_ten_is_no_degradation_at_all(monkeypatch):
    """None, one, two or three of them: 0.1, 0.3, 0.3, 0.3."""
    applied = []
    for name in DEGRADATIONS:
        monkeypatch.setitem(DEGRADATIONS, name, lambda x, _, name=name: applied.append(name) or x)
    counts = np.zeros(4)
    for seed in range(800):
        applied.clear()
        strengths = random_mixture(FACE, seed).strengths
        assert [name for name, s in zip(DEGRADATIONS, strengths, strict=True) if s] == applied
        counts[len(applied)] += 1
    np.testing.assert_allclose(counts / 800, [0.1, 0.3, 0.3, 0.3], atol=0.05)


def test_without_degradations_a_border_and_missing_colour_remain():
    """1 in 4 each: neither of them in 9 of 16."""
    same = [np.array_equal(random_mixture(FACE, seed, most=0).pixels, FACE) for seed in range(1000)]
    assert np.mean(same) == pytest.approx(9 / 16, abs=0.05)


def test_blur_removes_detail_and_cast_keeps_it():
    def detail(image):
        return np.abs(np.diff(image.astype(int).sum(2), axis=1)).mean()

    assert detail(degrade(FACE, "defocus", 0.5, 0)) < 0.4 * detail(FACE)
    assert detail(degrade(FACE, "colour", 0.5, 0)) > 0.6 * detail(FACE)


@pytest.mark.parametrize("vertical_axis", [True, False])
def test_a_turn_shows_the_picture_from_before_it_with_its_centre_in_place(vertical_axis):
    torch.manual_seed(0)
    turns = [pose._turn(1.0, vertical_axis) for _ in range(300)]
    drawn = [turn for turn in turns if turn is not None]
    assert 150 < len(drawn) < 250
    middle = (IMAGE - 1) / 2
    corners = [(x, y) for x in (0, IMAGE - 1) for y in (0, IMAGE - 1)]
    for turn in drawn:
        centre = turn @ torch.tensor([middle, middle, 1])
        torch.testing.assert_close(centre[:2] / centre[2], torch.tensor([middle] * 2))
        points = torch.stack([turn @ torch.tensor([x, y, 1.0]) for x, y in corners])
        assert (points[:, 2] / centre[2] > 0.2).all()  # nothing is behind the camera, or nearly


def test_a_turn_about_the_vertical_axis_keeps_columns_upright():
    torch.manual_seed(1)
    turn = next(t for t in (pose._turn(0.8, True) for _ in range(50)) if t is not None)
    for column in (10.0, 50.0, 100.0):
        top, bottom = (turn @ torch.tensor([column, row, 1.0]) for row in (5.0, 105.0))
        assert float(top[0] / top[2]) == pytest.approx(float(bottom[0] / bottom[2]), abs=1e-3)
