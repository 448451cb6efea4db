"""Skin tone from its definition: ITA = atan((L* - 50) / b*), CIELAB under D65."""

import numpy as np
import pytest

from edge_fiqa.cli.demo import portrait
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.skin_tone import (
    CHEEK,
    LEAST_YELLOW,
    TONES,
    cheek_ita,
    cheeks,
    tone_of,
    tones_of,
)
from edge_fiqa.faces.template import TEMPLATE

SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""IEC 61966-2-1, under D65, whose white is the second one."""
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab_of(colour):
    """CIE 15: from sRGB 0..255 to L*, a*, b*."""
    values = np.array(colour) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    ratio = SRGB_TO_XYZ @ linear / WHITE
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def plain(colour):
    return np.full((112, 112, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("colour", "degrees", "tone"),
    [  # by hand: L* and b* are 91.03, 17.64; 74.31, 24.83; 61.18, 45.59; 41.67, 37.24; 27.46, 16.64
        ((255, 224, 196), 66.74, "very light"),
        ((224, 172, 138), 44.39, "light"),
        ((198, 134, 66), 13.78, "tan"),
        ((141, 85, 36), -12.61, "brown"),
        ((92, 56, 40), -53.57, "dark"),
    ],
)
def test_the_angle_of_a_plain_colour(colour, degrees, tone):
    lightness, _, yellow = lab_of(colour)
    assert np.degrees(np.arctan((lightness - 50) / yellow)) == pytest.approx(degrees, abs=0.01)
    assert cheek_ita(plain(colour)) == pytest.approx(degrees, abs=0.4)  # OpenCV's is a table
    assert tone_of(cheek_ita(plain(colour))) == tone


def test_only_the_cheeks_count():
    crop = plain((0, 0, 255))
    for cheek in cheeks():
        crop[cheek] = (198, 134, 66)
    assert cheek_ita(crop) == cheek_ita(plain((198, 134, 66)))


def test_a_highlight_on_a_fifth_of_the_cheeks_hardly_counts():
    crop = plain((198, 134, 66))
    rows, columns = cheeks()[0]
    crop[rows, columns][:5] = 255
    assert cheek_ita(crop) == cheek_ita(plain((198, 134, 66)))


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (255, 255, 255), (90, 120, 200)])
def test_grey_and_blue_have_no_tone(colour):
    assert lab_of(colour)[2] < LEAST_YELLOW
    assert np.isnan(cheek_ita(plain(colour)))
    assert tone_of(cheek_ita(plain(colour))) is None


@pytest.mark.parametrize(
    "crop",
    [np.zeros((112, 112), np.uint8), np.zeros((96, 96, 3), np.uint8), np.zeros((112, 112, 3))],
    ids=["grey", "another size", "floats"],
)
def test_what_is_no_crop_is_refused(crop):
    with pytest.raises(ConfigError, match=r"aligned crop \(112, 112, 3\) of uint8 RGB"):
        cheek_ita(crop)


def test_cheeks_lie_between_eyes_and_mouth_and_beside_the_nose():
    left_eye, right_eye, nose, left_mouth, right_mouth = TEMPLATE
    (left_rows, left_columns), (right_rows, right_columns) = cheeks()
    assert left_rows == right_rows
    assert left_rows.stop - left_rows.start == left_columns.stop - left_columns.start == CHEEK
    assert max(left_eye[1], right_eye[1]) + 10 < left_rows.start  # below the lower lid
    assert left_rows.stop < min(left_mouth[1], right_mouth[1]) - 10
    assert left_columns.stop < nose[0] - 5
    assert nose[0] + 5 < right_columns.start
    assert left_columns.start > left_eye[0] - 10
    assert right_columns.stop < right_eye[0] + 10


def test_cheeks_of_a_portrait_are_skin():
    """By a published rule for skin under daylight (Kovac, Peer and Solina, EUROCON 2003)."""
    pytest.importorskip("matplotlib")
    crop = portrait()
    for cheek in cheeks():
        red, green, blue = crop[cheek].reshape(-1, 3).astype(int).T
        skin = (red > 95) & (green > 40) & (blue > 20) & (red > green) & (red > blue)
        skin &= (np.ptp([red, green, blue], axis=0) > 15) & (abs(red - green) > 15)
        assert skin.mean() > 0.95
    assert 10 < cheek_ita(crop) < 41  # a light skin, photographed in warm and dim light


@pytest.mark.parametrize(
    ("above", "at"),
    [("very light", "light"), ("light", "intermediate"), ("intermediate", "tan"), ("tan", "brown"),
     ("brown", "dark")],
)  # fmt: skip
def test_a_limit_belongs_to_the_darker_band(above, at):
    limit = {"very light": 55, "light": 41, "intermediate": 28, "tan": 10, "brown": -30}[above]
    assert dict(TONES)[above] == limit
    assert tone_of(limit + 1e-9) == above
    assert tone_of(limit) == at


def test_every_angle_has_a_band():
    assert tone_of(89.9) == "very light"
    assert tone_of(-89.9) == "dark"


def test_bands_that_hold_enough_stay_alone():
    ita = [60.0] * 3 + [50.0] * 3 + [30.0] * 3 + [20.0] * 3 + [0.0] * 3 + [-40.0] * 3
    assert tones_of(ita, 3) == [tone_of(value) for value in ita]


def test_a_small_band_joins_its_smaller_neighbour():
    ita = [60.0] * 5 + [50.0] * 9 + [30.0] * 1 + [20.0] * 4 + [0.0] * 5 + [-40.0] * 2
    tones = tones_of([*ita, float("nan")], 4)
    assert tones[-1] is None
    assert sorted(set(tones[:-1])) == [
        "brown to dark", "intermediate to tan", "light", "very light"
    ]  # fmt: skip
    assert tones[14:19] == ["intermediate to tan"] * 5


def test_empty_bands_take_no_part():
    assert tones_of([60.0] * 3 + [-40.0] * 3, 3) == ["very light"] * 3 + ["dark"] * 3


def test_too_few_of_all_make_one_band():
    assert tones_of([60.0, -40.0, 20.0], 10) == ["very light to dark"] * 3
    assert tones_of([], 10) == []
