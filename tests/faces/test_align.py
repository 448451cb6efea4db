"""Alignment from its definition: the similarity that brings five points to the template."""

import numpy as np
import pytest

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import TEMPLATE, align, eye_distance, similarity
from tests.published import ARCFACE


def test_the_template_is_the_published_one():
    np.testing.assert_array_equal(TEMPLATE, ARCFACE)


def moved(points, angle, scale, shift):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


@pytest.mark.parametrize("angle", [0, 0.4, -2.5])
@pytest.mark.parametrize("scale", [0.3, 1, 7])
def test_a_known_similarity_is_undone(angle, scale):
    found = similarity(moved(ARCFACE, angle, scale, (300, -40)))
    back = moved(ARCFACE, angle, scale, (300, -40)) @ found[:, :2].T + found[:, 2]
    np.testing.assert_allclose(back, ARCFACE, atol=1e-9)


def test_least_squares_against_a_general_solver():
    rng = np.random.default_rng(0)
    points = 2 * ARCFACE + rng.normal(0, 5, (5, 2))
    rows = [[x, -y, 1, 0] for x, y in points] + [[y, x, 0, 1] for x, y in points]
    target = np.concatenate((ARCFACE[:, 0], ARCFACE[:, 1]))
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), target, rcond=None)[0]
    np.testing.assert_allclose(similarity(points), [[a, -b, tx], [b, a, ty]], atol=1e-9)


def test_mirrored_points_are_not_reflected():
    mirrored = ARCFACE * (-1, 1)
    assert np.linalg.det(similarity(mirrored)[:, :2]) > 0


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 7.0),
        np.full((5, 2), np.nan),
        np.where(np.eye(5, 2), np.inf, ARCFACE),
        ARCFACE[:4],
    ],
)
def test_impossible_points(points):
    with pytest.raises(ImageRefused) as caught:
        similarity(points)
    assert caught.value.code == "no_face"


def test_numbers_that_are_no_pixels_are_said_to_be_none():
    with pytest.raises(ImageRefused, match="not finite points of a picture"):
        similarity(ARCFACE + 2e6)


def test_too_small():
    small = ARCFACE / 4
    assert eye_distance(ARCFACE) == pytest.approx(35.24, abs=0.01)
    with pytest.raises(ImageRefused, match=r"8\.8 pixels apart, below the limit of 10") as caught:
        align(np.zeros((50, 50, 3), np.uint8), small)
    assert caught.value.code == "too_small"
    assert align(np.zeros((50, 50, 3), np.uint8), small, min_eye_px=8).shape == (112, 112, 3)


def test_eyes_just_as_far_apart_as_they_must_be():
    points = [(20, 20), (30, 20), (25, 26), (21, 31), (29, 31)]
    picture = np.zeros((50, 50, 3), np.uint8)
    assert align(picture, points, min_eye_px=10).shape == (112, 112, 3)
    with pytest.raises(ImageRefused, match=r"10\.0 pixels apart, below the limit of 10\.01"):
        align(picture, points, min_eye_px=10.01)


def test_points_that_fit_no_turned_template_are_no_face():
    """Three points, moved so that the best similarity is none at all: its scale is 0."""
    left, right, nose = ARCFACE[:3] @ (1, 1j)
    first = 40.0
    second = -first * np.conj((left - nose) / (right - nose))
    offsets = np.array([first, second, -first - second, 0, 0])
    with pytest.raises(ImageRefused, match="do not look like a face"):
        similarity(np.stack([100 + offsets.real, 100 + offsets.imag], axis=1))


def test_an_aligned_face_comes_out_as_it_went_in():
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(face, ARCFACE), face)


@pytest.mark.parametrize("scale", [1.5, 3, 6.4])
def test_landmarks_land_on_the_template_at_every_size(scale):
    """A bright dot at each landmark comes out at the template's place, reduced first or not."""
    points = moved(ARCFACE, 0.3, scale, (80 * scale, 20))
    side = round(260 * scale)
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for px, py in points:
        image += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2 * scale) ** 2))
    face = align(np.repeat((255 * image).clip(0, 255).astype(np.uint8)[..., None], 3, 2), points)
    for px, py in ARCFACE:
        window = face[int(py) - 5 : int(py) + 7, int(px) - 5 : int(px) + 7, 0].astype(float)
        wy, wx = np.mgrid[int(py) - 5 : int(py) + 7, int(px) - 5 : int(px) + 7]
        centre = (wx * window).sum() / window.sum(), (wy * window).sum() / window.sum()
        assert np.hypot(centre[0] - px, centre[1] - py) < 0.15


def test_strong_reduction_does_not_alias():
    """One-pixel stripes become even grey, not moire."""
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    face = align(stripes, moved(ARCFACE, 0, 7.3, (20, 20)))
    assert face[20:90, 20:90].std() < 8


@pytest.mark.parametrize("shift", [(-500, 0), (500, 0), (0, -500), (0, 500), (1e8, 1e8)])
def test_a_face_outside_the_picture_is_no_face(shift):
    with pytest.raises(ImageRefused) as caught:
        align(np.zeros((200, 200, 3), np.uint8), ARCFACE + shift)
    assert caught.value.code == "no_face"


def test_a_face_across_the_edge_is_aligned():
    assert align(np.full((200, 200, 3), 9, np.uint8), ARCFACE - (0, 30)).any()


def test_a_face_mostly_outside_the_picture_is_refused():
    with pytest.raises(ImageRefused, match="lie outside the picture"):
        align(np.full((200, 200, 3), 9, np.uint8), ARCFACE - 60)
