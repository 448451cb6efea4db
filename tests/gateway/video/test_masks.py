"""Masks blacken parts of a picture, whatever its size."""

import numpy as np
import pytest

from edge_fiqa.gateway.video.camera import Camera
from edge_fiqa.gateway.video.masks import Masks
from tests.gateway.people import Script, camera_config, open_script
from tests.waiting import until

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(("width", "height"), [(400, 120), (121, 401)])
def test_what_is_masked_is_black_and_all_else_is_as_it_was(width, height):
    image = np.full((height, width, 3), 200, np.uint8)
    masked = Masks([LEFT_HALF]).blacken(image)
    black = (masked == 0).all(axis=2)
    assert (masked[~black] == 200).all()
    columns = black.all(axis=0)
    assert (columns == black.any(axis=0)).all()
    assert columns.sum() == pytest.approx(width / 2, abs=1)
    assert columns[: width // 2 - 1].all()


def test_the_picture_that_was_given_stays_as_it_is():
    image = np.full((40, 60, 3), 9, np.uint8)
    assert (Masks([LEFT_HALF]).blacken(image)[:, :29] == 0).all()
    assert (image == 9).all()
    assert Masks([]).blacken(image) is image


def test_a_turned_picture_is_masked_as_it_is_seen():
    """rotate: 90 turns clockwise: what was below is now left."""
    image = np.full((40, 80, 3), 200, np.uint8)
    config = camera_config("a", rotate=90, fps=60, masks=[LEFT_HALF])
    script = Script([[image] * 2000])
    camera = Camera("a", config, opener=open_script({"a": script}))
    camera.start()
    try:
        until(lambda: camera.latest is not None)
        shown = camera.latest.image
        assert shown.shape == (80, 40, 3)
        assert (shown[:, :19] == 0).all()
        assert (shown[:, 21:] == 200).all()
        camera.use(camera_config("a", rotate=90, fps=60))
        until(lambda: (camera.latest.image == 200).all() or None)
    finally:
        camera.stop()
