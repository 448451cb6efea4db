"""Where a second detection's points lie in the frame, with a detector of coloured discs."""

import cv2
import numpy as np
import pytest

from edge_fiqa.faces.align import align
from edge_fiqa.faces.detector import DetectedFace
from edge_fiqa.footage.second_look import SMALLEST_PX, FaceRegion, look_again
from edge_fiqa.types import IMAGE
from tests.published import ARCFACE

PLAIN = (90, 90, 90)
COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]])


def frame_with(*faces):
    """(480, 640, 3): a disc of a colour of its own at each landmark of each face."""
    frame = np.full((480, 640, 3), PLAIN, np.uint8)
    for points in faces:
        radius = round(0.09 * np.hypot(*(points[1] - points[0]))) + 1
        for point, colour in zip(points, COLOURS, strict=True):
            centre = tuple(int(c) for c in np.round(point * 16))
            cv2.circle(frame, centre, radius * 16, colour.tolist(), -1, cv2.LINE_AA, 4)
    return frame


def face_at(x, y, side, roll=0.0):
    """Landmarks of an upright head of this size, turned about its middle."""
    points = ARCFACE / IMAGE * side
    middle, angle = points.mean(0), np.radians(roll)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - middle) @ turn.T + middle + (x, y)


def box_of(points):
    return (*(points.min(0) - 20).tolist(), *(np.ptp(points, axis=0) + 40).tolist())


def detect_discs(score=0.9):
    """A face where all five colours are."""

    def detect(image):
        points = []
        for colour in COLOURS:
            rows, columns = np.nonzero(np.abs(image.astype(int) - colour).max(axis=2) < 60)
            if len(rows) < 4:
                return []
            points.append((columns.mean(), rows.mean()))
        return [DetectedFace(box_of(np.array(points)), np.array(points, np.float32), score)]

    return detect


@pytest.mark.parametrize("roll", [0.0, 35.0, -60.0])
@pytest.mark.parametrize(("x", "y", "side"), [(250, 150, 100), (5, 5, 120), (120, 60, 340)])
def test_points_come_back_to_the_frame(x, y, side, roll):
    points = face_at(x, y, side, roll)
    frame = frame_with(points)
    face = look_again(FaceRegion.of(frame, box_of(points)), detect_discs(), 5.0)
    np.testing.assert_allclose(face.landmarks, points, atol=0.02 * side)
    direct = align(frame, points.astype(np.float32), 5.0)
    assert np.abs(face.crop.astype(int) - direct).mean() < 6


def test_the_second_of_both_passes_sees_the_face_upright():
    points = face_at(250, 150, 100, 40.0)
    angles = []

    def detect(image):
        faces = detect_discs()(image)
        left, right = faces[0].landmarks[:2]
        angles.append(np.degrees(np.arctan2(*(right - left)[::-1])))
        return faces

    look_again(FaceRegion.of(frame_with(points), box_of(points)), detect, 5.0)
    assert angles == pytest.approx([40, 0], abs=3)


def test_a_neighbour_in_the_region_is_another_face():
    own, neighbour = face_at(200, 150, 80), face_at(275, 150, 80)
    region = FaceRegion.of(frame_with(neighbour), box_of(own))
    assert look_again(region, detect_discs(), 5.0) is None


def test_a_face_that_the_last_pass_is_not_sure_of_is_none():
    points = face_at(250, 150, 100)
    region = FaceRegion.of(frame_with(points), box_of(points))
    assert look_again(region, detect_discs(score=0.5), 5.0) is None
    assert look_again(region, detect_discs(score=0.6), 5.0) is not None


def test_where_only_the_first_pass_sees_it_that_one_counts():
    points = face_at(250, 150, 100)
    answers = [detect_discs(), lambda image: []]
    region = FaceRegion.of(frame_with(points), box_of(points))
    face = look_again(region, lambda image: answers.pop(0)(image), 5.0)
    np.testing.assert_allclose(face.landmarks, points, atol=2)


def test_what_is_too_small_to_gain_is_not_detected_again():
    region = FaceRegion.of(frame_with(), (100.0, 80.0, SMALLEST_PX - 1.0, SMALLEST_PX - 1.0))

    def detect(image):
        raise AssertionError("not asked")

    assert look_again(region, detect, 5.0) is None


def test_eyes_that_are_too_close_are_no_face():
    points = face_at(250, 150, 100)
    region = FaceRegion.of(frame_with(points), box_of(points))
    assert look_again(region, detect_discs(), 50.0) is None
