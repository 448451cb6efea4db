"""Faces that the picture's border cuts, points from other origins, and crops that show no face."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import align, align_given
from edge_fiqa.faces.border import border_warnings, outside_picture
from edge_fiqa.faces.crop_check import FEATURELESS, crop_warnings
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.landmarks import read_landmarks
from edge_fiqa.faces.point_names import named_points
from tests.published import ARCFACE, GRACE

FACE = np.array(GRACE, float)


@pytest.fixture(scope="module")
def portrait():
    return decode(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")


def test_the_share_outside_is_that_of_the_rows_cut_off():
    assert outside_picture(ARCFACE, 112, 84).crop == pytest.approx(28 / 112)
    assert border_warnings(ARCFACE, 112, 84) == (
        "face cut by the picture's border (25 % of the crop lies outside the picture)",
    )
    assert border_warnings(ARCFACE, 112, 108) == ()


@settings(max_examples=60, deadline=None)
@given(
    degrees=st.floats(-180, 180),
    size=st.floats(0.2, 3),
    x=st.floats(-120, 300),
    y=st.floats(-120, 300),
)
def test_shares_outside_are_counted_pixel_by_pixel(degrees, size, x, y):
    width, height = 240, 200
    place = size * np.exp(1j * np.radians(degrees))
    complex_points = np.array(ARCFACE) @ (1, 1j) * place + complex(x, y)
    points = np.stack([complex_points.real, complex_points.imag], axis=1)
    rows, columns = np.mgrid[:112, :112]
    pixels = (columns + 1j * rows) * place + complex(x, y)
    inside = (pixels.real >= -0.5) & (pixels.real <= width - 0.5)
    inside &= (pixels.imag >= -0.5) & (pixels.imag <= height - 0.5)
    outside = outside_picture(points, width, height)
    assert outside.crop == pytest.approx(
        1 - inside.mean(), abs=2 / 112
    )  # at most an edge of pixels
    assert outside.face == pytest.approx(1 - inside[24:108, 22:90].mean(), abs=2 / 68)
    if inside.all():
        assert outside.crop == 0


def test_points_from_the_centre_and_in_percent_are_refused_by_name(portrait):
    size = np.array([portrait.shape[1], portrait.shape[0]])
    with pytest.raises(ImageRefused, match="counted from the picture's centre"):
        align_given(portrait, FACE - size / 2)
    with pytest.raises(ImageRefused, match="percent of the picture's size"):
        align_given(portrait, FACE / size * 100)


def test_shares_from_minus_one_to_one_are_read(tmp_path):
    file = tmp_path / "points.csv"
    shares = FACE / (512, 600) * 2 - 1
    file.write_text("a.png," + ",".join(map(str, shares.ravel())), encoding="utf-8")
    (face,) = read_landmarks(file).in_picture(tmp_path / "a.png", 512, 600)
    np.testing.assert_allclose(face, FACE)


def test_the_tip_is_the_nose_and_the_rest_of_it_is_not():
    rest = {"pupilLeft": 0, "pupilRight": 1, "mouthLeft": 3, "mouthRight": 4}
    names = {"noseRootLeft": 8, "noseLeftAlarTop": 9, **rest, "noseTip": 2}
    assert named_points(names) == dict(enumerate(range(5)))
    with pytest.raises(ValueError, match="mean the same point"):
        named_points({"nose": 2, "NOSE": 7, **rest})


def test_crops_without_a_face_are_warned_of(portrait):
    ramp = np.repeat(np.tile(np.arange(112, dtype=np.uint8) * 2, (112, 1))[..., None], 3, 2)
    for crop in (np.zeros_like(ramp), np.full_like(ramp, 255), ramp):
        assert crop_warnings(crop) == (FEATURELESS,)
    crop = align(portrait, FACE)
    assert crop_warnings(crop) == ()
    for hidden in (np.s_[60:], np.s_[80:], np.s_[:, :40], np.s_[:40]):
        black = crop.copy()
        black[hidden] = 0
        assert any("one plain colour" in said for said in crop_warnings(black))
