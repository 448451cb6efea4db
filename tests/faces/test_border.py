"""Faces that the picture's border cuts, points from other origins, and crops that show no face."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

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
