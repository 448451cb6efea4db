"""Faces of photographs that one pass places badly, on pictures made of one portrait."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from edge_fiqa.cli.demo import LANDMARKS
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.photo_detector import PhotoDetector

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
EYES = 82.0  # pixels between them in the portrait
NEAR = 0.09  # of the distance of the eyes: mean error of the points; one pass errs by 0.2 at 30


@pytest.fixture(scope="module")
def detector():
    file = find_detector()
    if file is None:
        pytest.skip("no detector is installed: pip install 'edge-fiqa[detector]'")
    return PhotoDetector(file.path)


@pytest.fixture(scope="module")
def portrait():
    return decode(PORTRAIT)


def turned(portrait, angle):
    """The portrait turned counterclockwise on grey, and where its landmarks are then."""
    height, width = portrait.shape[:2]
    side = int(np.hypot(width, height))
    move = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    move[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    image = cv2.warpAffine(portrait, move, (side, side), borderValue=(128, 128, 128))
    return image, np.array(LANDMARKS) @ move[:, :2].T + move[:, 2]


def error(face, points):
    return np.linalg.norm(face.landmarks - points, axis=1).mean()


@pytest.mark.parametrize("angle", [0, 30, -45, 60, 90, 135, 180, -90])
def test_a_tilted_head_keeps_its_points(detector, portrait, angle):
    image, points = turned(portrait, angle)
    (face,) = detector.detect(image)
    assert error(face, points) < NEAR * EYES
    x, y, width, height = face.box
    assert (face.landmarks > (x, y)).all()
    assert (face.landmarks < (x + width, y + height)).all()


def test_every_face_of_a_panorama(detector, portrait):
    small = cv2.resize(portrait, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    scene = np.full((600, 7200, 3), 128, np.uint8)
    starts = list(range(100, 7000, 1000))
    for start in starts:
        scene[60 : 60 + small.shape[0], start : start + small.shape[1]] = small
    faces = sorted(detector.detect(scene), key=lambda face: face.box[0])
    assert len(faces) == len(starts)
    for face, start in zip(faces, starts, strict=True):
        assert error(face, np.array(LANDMARKS) * 0.8 + (start, 60)) < NEAR * EYES * 0.8


def test_small_faces_beside_smaller_ones(detector, portrait):
    scene = np.full((2000, 2600, 3), 128, np.uint8)
    for x, factor in ((100, 0.4), (900, 0.12), (1700, 0.12)):
        part = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        scene[300 : 300 + part.shape[0], x : x + part.shape[1]] = part
    assert len(detector.detect(scene)) == 3


@pytest.mark.parametrize("all_turns", [False, True])
def test_a_lying_face_beside_an_upright_one_is_detected(detector, portrait, all_turns):
    lying = np.ascontiguousarray(np.rot90(portrait, 1))
    scene = np.full((700, 1300, 3), 128, np.uint8)
    scene[50:650, 50:562] = portrait
    scene[100:612, 650:1250] = lying
    turning = PhotoDetector(find_detector().path, all_turns=all_turns)
    faces = sorted(turning.detect(scene), key=lambda face: face.box[0])
    assert len(faces) == 2
    points = np.array(LANDMARKS)
    lain = np.column_stack([points[:, 1] + 650, 511 - points[:, 0] + 100])
    assert error(faces[0], points + 50) < NEAR * EYES
    assert error(faces[1], lain) < NEAR * EYES


def test_all_turns_detect_a_small_upside_down_face_beside_an_upright_one(detector, portrait):
    small = cv2.resize(portrait, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    scene = np.full((2 * height, 4 * width, 3), 128, np.uint8)
    scene[:height, :width] = small
    scene[-height:, -width:] = small[::-1, ::-1]
    thorough = PhotoDetector(find_detector().path, all_turns=True)
    assert len(thorough.detect(scene)) == 2


def test_nothing_there(detector):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros((1, 2000, 3), np.uint8)) == []


def test_threads_share_a_detector(detector, portrait):
    images = [turned(portrait, angle)[0] for angle in (0, 60)] * 4
    alone = [detector.detect(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.detect, images))
    for (a,), (b,) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a.landmarks, b.landmarks)


def test_a_file_that_is_no_detector(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="not a YuNet"):
        PhotoDetector(tmp_path / "x.onnx")
