"""Faces between looks: found anew where something moved, carried on elsewhere."""

import cv2
import numpy as np
import pytest

from edge_fiqa.errors import EngineFailed
from edge_fiqa.faces.images import decode
from edge_fiqa.gateway.config.gateway import DetectorConfig, FacesConfig
from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.tracks.camera_faces import CameraFaces
from edge_fiqa.gateway.tracks.face_finder import FaceFinder
from tests.gateway.people import FindSquares


class Squares(FindSquares):
    """White squares, also in regions. The frame is searched at half its size."""

    def __init__(self):
        self.looks = []

    def searched_size(self, image):
        return image.shape[1] // 2, image.shape[0] // 2

    def find(self, image, regions=None):
        self.looks.append(regions)
        if regions is None:
            return super().find(image)
        shown = np.zeros_like(image)
        for x, y, width, height in regions:
            part = slice(2 * y, 2 * (y + height)), slice(2 * x, 2 * (x + width))
            shown[part] = image[part]
        return super().find(shown)


def picture(*left):
    image = np.zeros((720, 1280, 3), np.uint8)
    for x in left:
        image[300:380, x : x + 80] = 255
    return image


def test_a_face_is_there_once_where_the_whole_frame_was_searched_after_all():
    """The detector searches the whole frame where the border of a region cuts a face."""

    class SearchesAll(Squares):
        def find(self, image, regions=None):
            return super().find(image)

    faces, finder = CameraFaces(MotionConfig()), SearchesAll()
    faces.find(finder, picture(100, 1000), 0.0)
    moved = faces.find(finder, picture(120, 1000), 0.1)
    assert sorted((face.box[0], face.skip) for face in moved) == [(120, None), (1000, None)]
    assert faces.find(finder, picture(120, 1000), 0.2) is None
    boxes, scores = faces.carried_on()
    assert sorted(box[0] for box in boxes) == [120, 1000]
    assert len(scores) == 2


def test_one_moves_and_the_other_is_carried_on():
    faces, finder = CameraFaces(MotionConfig()), Squares()
    first = faces.find(finder, picture(100, 1000), 0.0)
    assert [face.box[0] for face in first] == [100, 1000]
    assert faces.find(finder, picture(100, 1000), 0.1) is None
    moved, stays = faces.find(finder, picture(120, 1000), 0.2)
    assert (moved.box[0], moved.skip) == (120, None)
    assert (stays.box[0], stays.skip, stays.crop) == (1000, "unchanged", None)
    assert len(finder.looks) == 2
    assert all(x + width < 500 for x, _, width, _ in finder.looks[1])


def test_one_leaves_and_all_are_looked_at_again_in_time():
    faces, finder = CameraFaces(MotionConfig(still_s=1.0)), Squares()
    faces.find(finder, picture(100, 1000), 0.0)
    (stays,) = faces.find(finder, picture(100), 0.1)
    assert (stays.box[0], stays.skip) == (100, "unchanged")
    assert faces.find(finder, picture(100), 0.9) is None
    (again,) = faces.find(finder, picture(100), 1.0)
    assert again.crop is not None


def test_without_a_gate_every_frame_is_looked_at():
    faces, finder = CameraFaces(MotionConfig(gate=False)), Squares()
    for step in range(3):
        assert len(faces.find(finder, picture(100), step / 10)) == 1
    assert finder.looks == [None] * 3


def test_after_a_failed_look_nothing_counts_as_seen():
    class Failing(Squares):
        broken = False

        def find(self, image, regions=None):
            if self.broken:
                raise EngineFailed("no")
            return super().find(image, regions)

    faces, finder = CameraFaces(MotionConfig()), Failing()
    faces.find(finder, picture(), 0.0)
    finder.broken = True
    with pytest.raises(EngineFailed):
        faces.find(finder, picture(200), 0.1)
    finder.broken = False
    (face,) = faces.find(finder, picture(200), 0.2)
    assert face.box[0] == 200


def test_a_look_at_a_region_gives_the_same_face(shared):
    """Within a pixel as searched: its pixels lie at the same places of the network's strides."""
    model = shared / "data/models/yunet_n_640_640.onnx"
    finder = FaceFinder(DetectorConfig(model=model), FacesConfig())
    scene = np.full((720, 1280, 3), 90, np.uint8)
    files = sorted((shared / "data/faces/lfw").glob("A*/0001.jpg"))[:2]
    scene[200:368, 300:468] = cv2.resize(decode(files[0]), (168, 168))
    scene[100:268, 900:1068] = cv2.resize(decode(files[1]), (168, 168))
    whole = finder.find(scene)
    assert len(whole) == 2
    for face in whole:
        x, y = face.box[0] / 2, face.box[1] / 2
        left, top = int(x // 64) * 64 - 64, max(0, int(y // 64) * 64 - 64)
        (alone,) = finder.find(scene, [(left, top, 256, 256)])
        np.testing.assert_allclose(alone.box, face.box, atol=2.0)
        np.testing.assert_allclose(alone.landmarks, face.landmarks, atol=2.0)
    assert finder.find(scene, [(0, 256, 64, 64)]) == []
    cut = int(whole[0].box[0] + whole[0].box[2] * 0.75) // 2
    for face, again in zip(whole, finder.find(scene, [(0, 0, cut, 320)]), strict=True):
        np.testing.assert_allclose(again.box, face.box, atol=2.0)
