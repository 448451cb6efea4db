"""Size and pose from five landmarks, by geometry; and the finder on a real portrait."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from edge_fiqa.faces.images import decode
from edge_fiqa.gateway.config.gateway import DetectorConfig, FacesConfig
from edge_fiqa.gateway.tracks.face_finder import (
    FaceFinder,
    instruction_about,
    picture_of,
    roll,
    skip_reason,
    turn,
)
from tests.published import ARCFACE

LIMITS = FacesConfig()
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


def head(yaw=0.0, roll_degrees=0.0, scale=1.0):
    """Landmarks of a head in space, eyes 2 apart and the nose 1.1 in front of them, seen from far."""
    points = np.array([[-1, 0, 0], [1, 0, 0], [0, 1.1, 1.1], [-0.8, 2.2, 0], [0.8, 2.2, 0]], float)
    a, b = np.radians(yaw), np.radians(roll_degrees)
    x, z = points[:, 0] * np.cos(a) + points[:, 2] * np.sin(a), points[:, 1]
    turned = np.stack([x * np.cos(b) - z * np.sin(b), x * np.sin(b) + z * np.cos(b)], axis=1)
    return [tuple(p) for p in (scale * turned + 100).tolist()]


@pytest.mark.parametrize("yaw", [0, 15, 30, 39, -39])
def test_turn_is_the_stated_function_of_yaw(yaw):
    for tilt in (0, 25, -70):
        assert turn(head(yaw, tilt)) == pytest.approx(1.1 * np.tan(np.radians(abs(yaw))))


@pytest.mark.parametrize("tilt", [0, 20, -35, 90])
def test_roll_is_the_angle_of_the_eyes(tilt):
    assert roll(head(roll_degrees=tilt)) == pytest.approx(tilt)


def test_which_faces_are_not_worth_scoring():
    assert skip_reason(head(scale=20), LIMITS) is None
    assert skip_reason([tuple(p) for p in ARCFACE], LIMITS) is None
    assert skip_reason(head(scale=5), LIMITS) == "too_small"
    assert skip_reason(head(yaw=45, scale=20), LIMITS) == "pose"
    assert skip_reason(head(roll_degrees=50, scale=20), LIMITS) == "pose"
    assert skip_reason([(float("nan"), 0.0)] * 5, LIMITS) == "no_landmarks"
    assert skip_reason([(3.0, 3.0)] * 5, LIMITS) == "no_landmarks"


def test_what_people_can_do_about_faces_that_are_not_scored():
    def said(landmarks, skip="pose"):
        return instruction_about(skip, landmarks, LIMITS)

    assert said(head(yaw=45, scale=20)) == "look straight into the camera"
    assert said(head(roll_degrees=50, scale=20)) == "hold your head upright"
    assert said(head(scale=5), "too_small") == "come closer"
    assert said(head(), "no_landmarks") is said(head(), "unchanged") is None


def test_the_picture_of_a_face_stays_inside_the_frame():
    image = np.arange(100 * 200 * 3, dtype=np.uint8).reshape(100, 200, 3)
    assert picture_of(image, (40, 40, 20, 20)).shape == (30, 30, 3)
    assert picture_of(image, (-10, -10, 40, 40)).shape == (40, 40, 3)
    assert picture_of(image, (190, 90, 40, 40)).size > 0
    copy = picture_of(image, (40, 40, 20, 20))
    copy[:] = 0
    assert image[50, 50].any()


def test_a_real_portrait(shared):
    model = shared / "data/models/yunet_n_640_640.onnx"
    finder = FaceFinder(DetectorConfig(model=model, longest_side=320), LIMITS)
    (face,) = finder.find(decode(PORTRAIT))
    assert (face.skip, face.instruction) == (None, None)
    assert face.crop.shape == (112, 112, 3)
    finder.limits = FacesConfig(min_eye_px=500)
    (face,) = finder.find(decode(PORTRAIT))
    assert (face.skip, face.crop, face.instruction) == ("too_small", None, "come closer")


def test_a_face_that_the_border_cuts_is_scored_with_a_warning(shared):
    model = shared / "data/models/yunet_n_640_640.onnx"
    finder = FaceFinder(DetectorConfig(model=model, longest_side=320), LIMITS)
    portrait = decode(PORTRAIT)
    (whole,) = finder.find(portrait)
    assert whole.warnings == ()
    x = int(np.array(whole.landmarks)[:, 0].mean())
    (half,) = finder.find(np.ascontiguousarray(portrait[:, : x + 40]))
    assert half.crop.shape == (112, 112, 3)
    (warning,) = half.warnings
    assert warning.startswith("face cut by the picture's border (")
