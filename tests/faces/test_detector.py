"""The detector on a real portrait, where a model is at hand."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from edge_fiqa.cli.demo import LANDMARKS
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.align import align
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.photo_detector import PhotoDetector

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


@pytest.fixture(scope="module")
def yunet(shared):
    return YuNet(shared / "data/models/yunet_n_640_640.onnx")


def test_one_face_with_landmarks_in_the_templates_order(yunet):
    (face,) = yunet.detect(decode(PORTRAIT))
    np.testing.assert_allclose(face.landmarks, LANDMARKS, atol=2)
    x, y, w, h = face.box
    assert (face.landmarks > (x, y)).all()
    assert (face.landmarks < (x + w, y + h)).all()
    assert face.score > 0.8
    assert align(decode(PORTRAIT), face.landmarks).shape == (112, 112, 3)


def test_the_largest_face_comes_first_and_size_does_not_matter(yunet):
    portrait = decode(PORTRAIT)
    scene = np.full((1500, 2400, 3), 128, np.uint8)
    scene[:300, :256] = portrait[::2, ::2]
    scene[600:1200, 1500:2012] = portrait
    large, small = yunet.detect(scene)
    np.testing.assert_allclose(large.landmarks - (1500, 600), LANDMARKS, atol=12)
    np.testing.assert_allclose(small.landmarks, np.array(LANDMARKS) / 2, atol=8)


def test_nothing_there(yunet):
    assert yunet.detect(np.zeros((200, 300, 3), np.uint8)) == []


NO_PICTURES = {
    "empty": np.zeros((0, 10, 3), np.uint8),
    "grey": np.zeros((64, 64), np.uint8),
    "RGBA": np.zeros((64, 64, 4), np.uint8),
    "float": np.zeros((64, 64, 3), np.float32),
    "batch": np.zeros((1, 64, 64, 3), np.uint8),
    "path": "photo.jpg",
    "nothing": None,
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_refused_in_a_sentence(yunet, kind):
    for detector in (yunet, PhotoDetector(str(yunet.model))):
        with pytest.raises(ConfigError, match=r"is \(H, W, 3\) uint8 RGB, not .+") as caught:
            detector.detect(NO_PICTURES[kind])
        assert "\n" not in str(caught.value)


def test_files_that_are_no_detector(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        YuNet(tmp_path / "absent.onnx")
    (tmp_path / "x.onnx").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="not a YuNet"):
        YuNet(tmp_path / "x.onnx")
