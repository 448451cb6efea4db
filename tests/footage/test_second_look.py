"""Where a second detection's points lie in the frame, by geometry."""

import numpy as np
import pytest

from edge_fiqa.faces.align import align
from edge_fiqa.faces.detector import DetectedFace
from edge_fiqa.footage.second_look import SMALLEST_PX, FaceRegion, look_again
from edge_fiqa.types import IMAGE
from tests.published import ARCFACE

FRAME = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)


def face_in(region, box, scale):
    """What a detector would say of the face in `box` of the frame, in its region at that scale."""
    x, y, width, height = box
    points = ARCFACE / IMAGE * (width, height) + (x - region.left, y - region.top)
    inside = (float((x - region.left) * scale), float((y - region.top) * scale))
    enlarged = ((points + 0.5) * scale - 0.5).astype(np.float32)
    return DetectedFace((*inside, width * scale, height * scale), enlarged, 0.9)


@pytest.mark.parametrize("box", [(100.0, 80.0, 60.0, 80.0), (5.0, 3.0, 150.0, 150.0)])
def test_points_come_back_to_the_frame(box):
    region = FaceRegion.of(FRAME, box)
    scale = max(1.0, 120 / max(box[2:]))

    def detect(image):
        assert image.shape[0] == pytest.approx(scale * region.pixels.shape[0], abs=1)
        return [face_in(region, box, scale)]

    face = look_again(region, detect, 5.0)
    expected = ARCFACE / IMAGE * box[2:] + box[:2]
    np.testing.assert_allclose(face.landmarks, expected, atol=1e-3)
    np.testing.assert_allclose(face.box, box, atol=1e-3)
    direct = align(FRAME, expected.astype(np.float32), 5.0)
    assert np.abs(face.crop.astype(int) - direct).mean() < 1


def test_a_neighbour_in_the_region_is_another_face():
    region = FaceRegion.of(FRAME, (100.0, 80.0, 60.0, 60.0))
    neighbour = face_in(region, (150.0, 80.0, 60.0, 60.0), 2.0)
    own = face_in(region, (102.0, 82.0, 58.0, 58.0), 2.0)
    assert look_again(region, lambda image: [neighbour], 5.0) is None
    face = look_again(region, lambda image: [neighbour, own], 5.0)
    assert face.box[0] == pytest.approx(102)


def test_what_is_too_small_to_gain_is_not_detected_again():
    region = FaceRegion.of(FRAME, (100.0, 80.0, SMALLEST_PX - 1.0, SMALLEST_PX - 1.0))

    def detect(image):
        raise AssertionError("not asked")

    assert look_again(region, detect, 5.0) is None


def test_eyes_that_are_too_close_are_no_face():
    region = FaceRegion.of(FRAME, (100.0, 80.0, 60.0, 60.0))
    assert look_again(region, lambda image: [face_in(region, region.box, 2.0)], 50.0) is None
