"""Alignment from its definition: the similarity that brings five points to the template."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import TEMPLATE, align, align_given, eye_distance, similarity
from edge_fiqa.faces.images import decode
from tests.published import ARCFACE, GRACE

FACE = np.array(GRACE, float)


@pytest.fixture(scope="module")
def portrait():
    return decode(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")


def refusal(image, landmarks, of=align, **options):
    """(code, text)"""
    with pytest.raises(ImageRefused) as caught:
        of(image, landmarks, **options)
    return caught.value.code, str(caught.value)


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


def test_the_distance_of_points_in_unsigned_integers():
    points = np.array([(50, 20), (20, 60), (35, 50), (30, 70), (45, 70)], np.uint8)
    assert eye_distance(points) == 50  # 30 to the left, 40 down


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


@pytest.mark.parametrize("scale", [1.0, 2.2, 5.5])
def test_each_pixel_is_taken_from_its_place_in_the_picture(scale):
    """A picture of its own coordinates: averages and straight lines of them are exact."""
    side = int(112 * scale) + 20
    y, x = np.mgrid[: side + 37, :side].astype(np.float32)
    crop = align(np.stack([x, y, x], axis=2), ARCFACE * scale + (5, 9))
    rows, columns = np.mgrid[4:108, 4:108]
    near = max(0.06, scale / 32)  # older OpenCV rounds places to 1/32 of a pixel
    np.testing.assert_allclose(crop[4:108, 4:108, 0], scale * columns + 5, atol=near)
    np.testing.assert_allclose(crop[4:108, 4:108, 1], scale * rows + 9, atol=near)


@pytest.mark.parametrize(("scale", "most"), [(7.3, 8), (2.5, 30)])
def test_strong_reduction_does_not_alias(scale, most):
    """One-pixel stripes become even grey, not moire."""
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    face = align(stripes, moved(ARCFACE, 0, scale, (20, 20)))
    assert face[20:90, 20:90].std() < most


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
    # 40 of 112 rows are there, and no point: 72 / 112 are missing.
    assert refusal(np.zeros((40, 200, 3), np.uint8), ARCFACE) == (
        "no_face",
        "5 of the five landmarks and 64 % of the crop lie outside the picture",
    )


def test_a_face_low_in_a_tall_picture_is_inside():
    picture = np.zeros((400, 120, 3), np.uint8)
    assert align(picture, ARCFACE + np.array((0, 250))).shape == (112, 112, 3)


@pytest.mark.parametrize("lowest", [0.0, 0.2])
def test_shares_of_the_picture_are_refused_with_what_to_do(lowest):
    """0 is a share, too: of a face at the picture's edge."""
    shares = 0.1 + ARCFACE / 250
    shares[3, 0] = lowest
    assert refusal(np.zeros((400, 400, 3), np.uint8), shares) == (
        "no_face",
        "the five landmarks look normalised (0 to 1); give pixels: multiply x by the picture's width "
        "and y by its height",
    )


def test_shares_from_minus_one_are_refused_with_what_to_do():
    shares = ARCFACE / 100 - 0.6
    assert shares.min() < 0 < shares.max() <= 1
    assert refusal(np.zeros((400, 400, 3), np.uint8), shares) == (
        "no_face",
        "the five landmarks look normalised (-1 to 1); give pixels: add 1, multiply x by half the "
        "picture's width, y by half its height",
    )


NO_FACE_THERE = "there is no face at the five landmarks: "


def test_points_of_another_size_in_unsigned_integers(portrait):
    points = np.rint(FACE / 2).astype(np.uint8)
    assert refusal(portrait, points, align_given) == (
        "no_face",
        f"{NO_FACE_THERE}they look like points of this picture at 0.5 times its size",
    )


def test_points_before_a_rotation_by_half_a_turn(portrait):
    assert refusal(np.ascontiguousarray(portrait[::-1, ::-1]), FACE, align_given) == (
        "no_face",
        f"{NO_FACE_THERE}they look like points of the stored picture; give those after its EXIF "
        "rotation",
    )


def test_shares_from_minus_one_that_were_read_as_from_0(portrait):
    size = np.array([portrait.shape[1], portrait.shape[0]])
    code, text = refusal(portrait, (2 * FACE / size - 1) * size, align_given)
    assert code == "no_face"
    assert text.endswith(
        "lie outside the picture, and they look like shares from -1 to 1 that were read as 0 to 1; "
        "give pixels"
    )


def test_a_picture_without_features_has_no_other_reading():
    """Nothing speaks for other points than those given, whatever they show."""
    black = np.zeros((50, 50, 3), np.uint8)
    assert not align_given(black, ARCFACE * 0.3).any()  # eyes 10.6 pixels apart
    assert not align_given(black, ARCFACE / 4, min_eye_px=8).any()
    code, text = refusal(black, ARCFACE / 4, align_given)
    assert (code, text) == ("too_small", "the eyes are 8.8 pixels apart, below the limit of 10")


def test_points_that_show_no_face_pass_where_no_other_reading_does_better():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    crop = align_given(noise, ARCFACE + 90)
    np.testing.assert_array_equal(crop, align(noise, ARCFACE + 90))
