"""Aligned crops pass; shifted, scaled, turned, uncut and swapped ones do not."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from edge_fiqa.faces.align import align
from edge_fiqa.faces.crop_check import (
    SWAPPED,
    TOO_TALL,
    TOO_WIDE,
    UNALIGNED,
    check_alignment,
    crop_warnings,
    features_of,
    misaligned_by,
    plain_share,
    unaligned_note,
)
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.sources import FaceCrop, as_crop
from tests.published import GRACE

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
FACE = np.array(GRACE, float)


@pytest.fixture(scope="module")
def portrait():
    return decode(PORTRAIT)


def cut(portrait, shift=(0, 0), scale=1.0, degrees=0.0):
    """The crop of the portrait whose face is shifted by crop pixels, scaled and turned."""
    eye = np.hypot(*(FACE[1] - FACE[0])) / 35.24  # picture pixels per crop pixel
    angle, centre = np.radians(degrees), FACE.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (FACE - centre) @ turn.T / scale + centre - np.multiply(shift, eye)
    return align(portrait, points)


@pytest.mark.parametrize(
    "change",
    [{}, {"shift": (1, 1)}, {"scale": 1.03}, {"scale": 0.97}, {"degrees": 2}],
)
def test_an_aligned_crop_passes(portrait, change):
    assert crop_warnings(cut(portrait, **change)) == ()


@pytest.mark.parametrize(
    "worse",
    [
        lambda face: cv2.GaussianBlur(face, (0, 0), 2),
        lambda face: (face * 0.2).astype(np.uint8),
        lambda face: np.ascontiguousarray(face[:, ::-1]),
        lambda face: cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    ],
)
def test_a_bad_picture_of_an_aligned_face_passes(portrait, worse):
    assert crop_warnings(worse(cut(portrait))) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"shift": (10, 0)}, {"shift": (-10, 0)}, {"shift": (0, 10)}, {"shift": (0, -10)},
        {"scale": 0.75}, {"scale": 1.33}, {"degrees": 25}, {"degrees": -25}, {"degrees": 180},
    ],
)  # fmt: skip
def test_a_crop_out_of_place_is_noticed(portrait, change):
    assert UNALIGNED in crop_warnings(cut(portrait, **change))


def stretched(portrait, stretch):
    """The crop of a picture whose width alone was scaled, by points detected in that."""
    wide = cv2.resize(portrait, None, fx=stretch, fy=1, interpolation=cv2.INTER_AREA)
    return align(wide, FACE * (stretch, 1))


def test_a_stretched_picture_is_noticed(portrait):
    assert crop_warnings(stretched(portrait, 1.7)) == (TOO_WIDE,)
    assert crop_warnings(stretched(portrait, 2)) != ()


def test_where_the_face_lies_is_estimated(portrait):
    """Of a face off by half of what is blamed: shifts in pixels, x to the right and y down."""
    at = check_alignment(cut(portrait, (4, -4)))
    start = check_alignment(cut(portrait))
    np.testing.assert_allclose(np.subtract(at.shift, start.shift), (4, -4), atol=1.5)
    assert check_alignment(cut(portrait, scale=1.1)).zoom > start.zoom + 0.05
    turned = cv2.warpAffine(
        cut(portrait), cv2.getRotationMatrix2D((55.5, 55.5), 10, 1), (112, 112), borderMode=1
    )
    assert check_alignment(turned).degrees == pytest.approx(start.degrees + 10, abs=4)


def test_a_mirrored_crop_is_judged_alike(portrait):
    crop = cut(portrait, (5, 2))
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    check, other = check_alignment(crop), check_alignment(mirrored)
    assert other.moved == pytest.approx(check.moved, abs=0.05)
    np.testing.assert_allclose(other.shift, np.multiply(check.shift, (-1, 1)), atol=0.05)


def test_swapped_channels_are_noticed(portrait):
    assert crop_warnings(np.ascontiguousarray(cut(portrait)[..., ::-1])) == (SWAPPED,)


def test_uncut_squares_are_noticed_and_one_is_enough(portrait):
    for square in (portrait[:512, :512], portrait[100:360, 130:390]):
        face = as_crop(np.ascontiguousarray(square), "photo.png")
        assert UNALIGNED in crop_warnings(face.crop)


def test_the_template_of_sphereface_is_mapped(portrait):
    """Their 96x112 crop is ours without 8 columns on either side."""
    whole = cut(portrait)
    face = as_crop(np.ascontiguousarray(whole[:, 8:104]), "crop.png")
    assert isinstance(face, FaceCrop)
    assert face.warnings == ("mapped from a 96x112 crop",)
    np.testing.assert_array_equal(face.crop[:, 8:104], whole[:, 8:104])
    assert crop_warnings(face.crop) == ()


def test_what_is_said_of_a_set():
    assert unaligned_note(1, 100) is None
    assert unaligned_note(60, 100) == "60 of 100 faces do not look like aligned crops"


def test_the_cases(shared):
    folder = shared / "cases/square"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for path in sorted(folder.glob("*.png")):
        face = as_crop(decode(path), path.name)
        said = crop_warnings(face.crop)
        assert (said == ()) if "aligned" in path.name else (UNALIGNED in said), path.name


@pytest.fixture(scope="module")
def real_faces(shared):
    rows = (shared / "data/splits/test.csv").read_text(encoding="utf-8").splitlines()[1::30]
    return [decode(shared / "data" / row.split(",")[0]) for row in rows]


def mapped(face, matrix):
    return cv2.warpAffine(face, np.float64(matrix), (112, 112), borderMode=cv2.BORDER_REPLICATE)


def test_aligned_faces_of_real_sets(real_faces):
    """Persons that the check has not seen; some hundred, so that a broken check shows."""
    said = [crop_warnings(face) for face in real_faces]
    assert sum(bool({UNALIGNED, TOO_WIDE, TOO_TALL} & set(texts)) for texts in said) <= 4
    swapped = [crop_warnings(np.ascontiguousarray(face[..., ::-1])) for face in real_faces]
    coloured = [bool(np.ptp(face.astype(int), axis=2).mean() > 5) for face in real_faces]
    assert sum(SWAPPED in s for s in swapped) >= 0.9 * sum(coloured)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 8], [0, 1, 0]],
        [[1, 0, -8], [0, 1, 0]],
        [[1, 0, 0], [0, 1, 8]],
        [[1, 0, 0], [0, 1, -8]],
        [[0.8, 0, 11.1], [0, 0.8, 11.1]],
        [[1.25, 0, -13.9], [0, 1.25, -13.9]],
    ],
)
def test_real_faces_out_of_place_are_noticed(real_faces, matrix):
    """As many as are asked for, 9 of 10, less what 200 faces allow for chance."""
    answers = [misaligned_by(mapped(face, matrix)) for face in real_faces]
    assert np.mean(np.array(answers) > 0) >= 0.85


@pytest.mark.parametrize(("stretch", "said"), [(1.8, TOO_WIDE), (1 / 1.8, TOO_TALL)])
def test_stretched_faces_are_noticed_and_the_direction_is_said(real_faces, stretch, said):
    """Sets of faces differ in width, so that little stretch is not blamed."""
    x, y = np.sqrt([stretch, 1 / stretch])
    matrix = [[x, 0, 55.5 * (1 - x)], [0, y, 55.5 * (1 - y)]]
    crops = [mapped(face, matrix) for face in real_faces]
    warnings = [crop_warnings(crop) for crop in crops]
    assert np.mean([texts != () for texts in warnings]) >= 0.85
    assert np.mean([said in texts for texts in warnings]) >= 0.6
    other = {TOO_WIDE: TOO_TALL, TOO_TALL: TOO_WIDE}[said]
    assert not any(other in texts for texts in warnings)
    widths = [check_alignment(crop).width for crop in crops]
    assert np.median(widths) == pytest.approx(stretch, rel=0.15)


def test_plain_pixels_are_those_like_all_around_them(portrait):
    crop = cut(portrait)
    crop[40:70, 30:60] = 7
    crop[90, 50] = 255
    window = (slice(24, 108), slice(22, 90))
    around = np.lib.stride_tricks.sliding_window_view(crop.astype(int), (5, 5), axis=(0, 1))
    change = np.ptp(around, axis=(3, 4)).max(axis=2)  # of the pixels 2 to 109
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[window].astype(int)
    limit = min(2, int(0.02 * np.ptp(grey)))
    expected = (change[22:106, 20:88] <= limit).mean()
    assert plain_share(crop) == expected
    assert expected >= 26 * 26 / (84 * 68)


def test_features_are_what_a_surface_of_second_degree_leaves_over():
    y, x = np.mgrid[-1:1:112j, -1:1:112j]
    surface = 90 + 40 * x - 30 * y + 20 * x * y - 25 * x**2
    stripes = 10 * np.sign(np.sin(40 * y))
    smooth, striped = (
        np.repeat(np.round(values)[..., None], 3, axis=2).astype(np.uint8)
        for values in (surface, surface + stripes)
    )
    contrast, share = features_of(smooth)
    assert contrast < 0.5
    assert share < 0.05
    contrast, share = features_of(striped)
    assert 5 < contrast < 10
    assert 0.2 < share < 1
    assert features_of(np.full((112, 112, 3), 99, np.uint8)) == pytest.approx((0, 0), abs=1e-9)
