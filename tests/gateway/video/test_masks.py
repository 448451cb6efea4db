"""Masks blacken parts of a picture, whatever its size."""

import numpy as np
import pytest

from edge_fiqa.gateway.video.camera import Camera
from edge_fiqa.gateway.video.masks import Masks
from tests.gateway.people import LONG, Script, camera_config, open_script
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
    touched = -(-width // 2)
    assert columns[:touched].all()
    assert columns.sum() in range(touched, touched + 3)


def test_the_picture_that_was_given_stays_as_it_is():
    image = np.full((40, 60, 3), 9, np.uint8)
    assert (Masks([LEFT_HALF]).blacken(image)[:, :29] == 0).all()
    assert (image == 9).all()
    assert Masks([]).blacken(image) is image


def test_a_turned_picture_is_masked_as_it_is_seen():
    """rotate: 90 turns clockwise: what was below is now left."""
    image = np.full((40, 80, 3), 200, np.uint8)
    config = camera_config("a", rotate=90, fps=60, masks=[LEFT_HALF])
    script = Script([[image] * LONG])
    camera = Camera("a", config, opener=open_script({"a": script}))
    camera.start()
    try:
        until(lambda: camera.latest is not None)
        shown = camera.latest.image
        assert shown.shape == (80, 40, 3)
        assert (shown[:, :20] == 0).all()
        assert (shown[:, 22:] == 200).all()
        camera.use(camera_config("a", rotate=90, fps=60))
        until(lambda: (camera.latest.image == 200).all() or None)
    finally:
        camera.stop()


@pytest.mark.parametrize("width", [352, 640, 1920])
@pytest.mark.parametrize(
    ("start", "end"), [(0.1, 0.9), (0.333, 0.777), (0.25, 0.75), (0.906, 0.999)]
)
def test_every_pixel_that_a_mask_touches_is_black(width, start, end):
    """And no more than two beside it."""
    mask = ((start, 0.0), (end, 0.0), (end, 1.0), (start, 1.0))
    black = (Masks([mask]).blacken(np.full((20, width, 3), 9, np.uint8)) == 0).all(axis=(0, 2))
    first, last = np.flatnonzero(black)[[0, -1]]
    left, right = int(np.floor(start * width)), int(np.ceil(end * width)) - 1
    assert left - 2 <= first <= left
    assert right <= last <= min(right + 2, width - 1)


def test_masks_follow_a_picture_that_changes_its_size():
    masks = Masks([LEFT_HALF])
    for width, height in ((40, 30), (80, 60), (40, 30)):
        masked = masks.blacken(np.full((height, width, 3), 9, np.uint8))
        assert masked.shape == (height, width, 3)
        assert (masked[:, : width // 2] == 0).all()
        assert (masked[:, width // 2 + 2 :] == 9).all()


def test_a_mask_that_is_taken_up_covers_the_frame_that_is_kept():
    """The stream may have stopped: no other frame comes."""
    script = Script([[np.full((40, 60, 3), 200, np.uint8)] * 5 + ["hang"]])
    camera = Camera("a", camera_config("a", fps=60), opener=open_script({"a": script}))
    camera.start()
    try:
        until(lambda: camera.latest is not None)
        script_frame = camera.latest
        masked = camera_config("a", fps=60, masks=[LEFT_HALF])
        camera.use(masked)
        latest = camera.latest
        assert (latest.image[:, :30] == 0).all()
        assert (latest.image[:, 32:] == 200).all()
        assert (latest.masks, script_frame.masks) == (masked.mask_polygons, ())
        assert (script_frame.image == 200).all()
        camera.use(camera_config("a", fps=60))
        assert camera.latest.masks == ()
    finally:
        script.go_on.set()
        camera.stop()
