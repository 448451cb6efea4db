"""Tight pictures: surroundings are made up, missing parts of a face are not."""

import numpy as np
from PIL import Image

from edge_fiqa.faces.align import align
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.gallery.tight import TIGHT, tight_crop, with_surroundings
from tests.published import ARCFACE

PICTURE = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
LANDMARKS = np.asarray(ARCFACE, np.float64)


def cut(rows, columns):
    return np.ascontiguousarray(PICTURE[rows, columns]), LANDMARKS - (columns.start, rows.start)


def test_pixels_of_the_picture_stay_and_the_border_is_continued():
    pixels, points = cut(slice(26, 106), slice(24, 88))
    crop = tight_crop(pixels, points, 10.0)
    whole = align(PICTURE, LANDMARKS, 10.0)
    assert np.abs(crop[27:105, 25:87].astype(int) - whole[27:105, 25:87]).max() <= 2
    assert np.abs(crop[60, :24].astype(int) - crop[60, 24]).max() <= 2  # one colour to the left
    assert crop[0].any()


def test_a_whole_picture_and_a_cut_face_stay_as_they_are():
    assert tight_crop(PICTURE, LANDMARKS, 10.0) is None
    half = cut(slice(26, 106), slice(24, 60))  # no right eye
    assert tight_crop(*half, 10.0) is None
    no_chin = cut(slice(26, 80), slice(24, 88))
    assert tight_crop(*no_chin, 10.0) is None


def test_a_refused_tight_face_becomes_one_that_can_be_scored(tmp_path):
    pixels, points = cut(slice(26, 106), slice(24, 88))
    path = tmp_path / "tight.png"
    Image.fromarray(pixels).save(path)
    landmarks = tuple(map(tuple, points.tolist()))
    refused = RefusedFace("a#0", "a", "no_face", "outside", (0.0, 0.0, 64.0, 80.0), landmarks)
    face = with_surroundings(refused, path, 10.0)
    assert isinstance(face, FaceCrop)
    assert face.warnings == (TIGHT,)
    assert (face.id, face.box, face.landmarks) == ("a#0", refused.box, landmarks)
    nothing = RefusedFace("a#0", "a", "unreadable", "broken")
    assert with_surroundings(nothing, tmp_path / "absent.png", 10.0) is nothing
    assert with_surroundings(refused, tmp_path / "absent.png", 10.0) is refused
