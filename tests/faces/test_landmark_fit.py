"""Which five points can be a face, and what is said of those that cannot."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import align, align_given
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.landmark_fit import fit_warnings, misfit_px, probable_cause
from edge_fiqa.faces.template import TEMPLATE
from tests.published import GRACE

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
FACE = np.array(GRACE, float)
FLAT = FACE.ravel()
MISTAKES = {
    "left and right look exchanged": FACE[[1, 0, 2, 4, 3]],
    "the two eyes look exchanged": FACE[[1, 0, 2, 3, 4]],
    "the two corners of the mouth look exchanged": FACE[[0, 1, 2, 4, 3]],
    "y looks to come before x": FACE[:, ::-1],
    "all x look to come before all y": np.concatenate([FACE[:, 0], FACE[:, 1]]).reshape(5, 2),
    "all y look to come before all x": np.concatenate([FACE[:, 1], FACE[:, 0]]).reshape(5, 2),
    "in the order nose, left eye, right eye, left mouth corner": FACE[[2, 0, 1, 3, 4]],
}


@pytest.fixture(scope="module")
def portrait():
    return decode(PORTRAIT)


def test_the_misfit_is_the_distance_that_no_similarity_removes():
    assert misfit_px(TEMPLATE * 7 + 3) == pytest.approx(0, abs=1e-9)
    moved = TEMPLATE.copy()
    moved[2] += (0, 10)  # most of it stays: the other four hold the template in place
    assert 6 < misfit_px(moved) * np.sqrt(5) < 10
    assert misfit_px(moved) == pytest.approx(misfit_px(5 * moved[:, ::1] + 40))


@pytest.mark.parametrize("cause", MISTAKES)
def test_a_wrong_order_is_refused_with_its_cause(portrait, cause):
    with pytest.raises(ImageRefused, match=cause) as refusal:
        align(portrait, MISTAKES[cause])
    assert refusal.value.code == "no_face"
    assert "expected: left eye, right eye, nose" in str(refusal.value)


def test_points_of_no_face_have_no_cause():
    line = np.array([[0, 0], [25, 0], [50, 1], [75, 0], [100, 0]], float)
    assert "no order" in probable_cause(line)


def test_a_profile_is_warned_of_and_not_refused(portrait):
    """A head turned by 75 degrees, by the model of a nose 1.1 half eye distances in front."""
    turn = np.radians(75)
    depth = np.array([0, 0, 1.1, 0.4, 0.4])
    flat = np.array([[-1, 0], [1, 0], [0, 1.1], [-0.8, 2.2], [0.8, 2.2]])
    seen = np.stack([flat[:, 0] * np.cos(turn) + depth * np.sin(turn), flat[:, 1]], axis=1)
    points = 60 * seen + (200, 200)
    assert align(portrait, points).shape == (112, 112, 3)
    (warning,) = fit_warnings(points)
    assert "fit a face poorly" in warning
    assert fit_warnings(FACE) == ()


def test_points_from_0_to_1_are_named(portrait):
    height, width = portrait.shape[:2]
    with pytest.raises(ImageRefused, match="look normalised"):
        align(portrait, FACE / (width, height))


@pytest.mark.parametrize(("factor", "size"), [(0.5, "0.5"), (0.25, "0.25"), (2, "2")])
def test_points_of_a_picture_of_another_size_are_named(portrait, factor, size):
    with pytest.raises(ImageRefused, match=f"this picture at {size} times its size"):
        align_given(portrait, FACE * factor)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_points_of_the_stored_picture_are_found_out(portrait, turns):
    """Stored turned, displayed upright: the points of the stored one are off the face."""
    height, width = portrait.shape[:2]
    x, y = FACE.T
    stored = {
        1: np.stack([y, width - 1 - x], axis=1),
        2: np.stack([width - 1 - x, height - 1 - y], axis=1),
        3: np.stack([height - 1 - y, x], axis=1),
    }[turns]
    seen = np.rot90(portrait, turns)
    np.testing.assert_array_equal(
        seen[tuple(np.rint(stored[0]).astype(int)[::-1])],
        portrait[tuple(np.rint(FACE[0]).astype(int)[::-1])],
    )
    with pytest.raises(ImageRefused, match="stored picture; give those after its EXIF rotation"):
        align_given(portrait, stored)


def test_right_points_pass_in_any_picture(portrait):
    """Small, large, turned on its side, and beside another picture."""
    np.testing.assert_array_equal(align_given(portrait, FACE), align(portrait, FACE))
    large = cv2.resize(portrait, None, fx=2, fy=2)
    assert align_given(large, FACE * 2).shape == (112, 112, 3)
    height = portrait.shape[0]
    x, y = FACE.T
    turned = np.ascontiguousarray(np.rot90(portrait, 3))
    assert align_given(turned, np.stack([height - 1 - y, x], axis=1)).shape == (112, 112, 3)
