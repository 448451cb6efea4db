"""Polygons of masks and zones: what is one, and where the file says so wrongly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.config.gateway import load_config
from edge_fiqa.gateway.config.polygon import checked

SQUARE = ((0.1, 0.1), (0.4, 0.1), (0.4, 0.4), (0.1, 0.4))


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (SQUARE[:2], "3 to 100 points"),
        ((), "3 to 100 points"),
        (SQUARE * 26, "3 to 100 points"),
        ((SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]), "its side 1 meets its side 3"),
        (((0, 0), (0.5, 0.5), (1, 1)), "on a line"),
        ((SQUARE[0], SQUARE[0], SQUARE[1], SQUARE[2], SQUARE[2]), "meets"),
        (((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)), "its side 1 meets"),  # touches a side
    ],
)
def test_what_is_no_polygon(points, says):
    with pytest.raises(ValueError, match=says):
        checked(points)


def test_a_last_point_that_repeats_the_first_is_left_out():
    assert checked((*SQUARE, SQUARE[0])) == SQUARE


@given(st.lists(st.floats(0.05, 0.5), min_size=3, max_size=12), st.booleans())
def test_points_around_a_middle_are_a_polygon_both_ways_round(radii, turned):
    """A star-shaped polygon has no crossing sides, whatever its radii are."""
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii)
    points = tuple(
        (0.5 + float(r * np.cos(a)), 0.5 + float(r * np.sin(a)))
        for r, a in zip(radii, angles, strict=True)
    )
    points = points[::-1] if turned else points
    assert checked(points) == points


def test_the_file_is_told_by_line_and_key(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "http: {}\n"
        "cameras:\n"
        "  door:\n"
        "    source: rtsp://h/x\n"
        "    masks:\n"
        "      - [[0, 0], [0.3, 0], [0.3, 0.2]]\n"
        "      - [[0, 0], [0.3, 0]]\n"
        "    zones:\n"
        "      a: [[0, 0], [1, 1], [1, 0], [0, 1]]\n"
        "      b: [[0, 0], [1.2, 1], [1, 0]]\n"
        "      a b: [[0, 0], [0.3, 0], [0.3, 0.2]]\n"
        "  hall:\n"
        "    source: rtsp://h/x\n"
        "    masks:\n"
        "      tv: '0,0,0.5,0,1,1'\n"
        "    zones: {a: [[0, 0], [0.3, 0], [0.3, 0.2]]}\n"
        "    required_zones: [a, b]\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    lines = [line.partition("gateway.yaml, ")[2] for line in str(caught.value).splitlines()]
    assert [line[: line.index(":")] for line in lines] == [
        "line 7, cameras.door.masks.1",
        "line 9, cameras.door.zones.a",
        "line 10, cameras.door.zones.b.1.0",
        "line 11, cameras.door.zones.a b",
        "line 15, cameras.hall.masks.tv",
        "line 17, cameras.hall.required_zones",
    ]
    assert "list of points [x, y]" in lines[4]
    assert "b is none of this camera's zones (a)" in lines[5]


def test_masks_have_names_or_not():
    plain = CameraConfig.model_validate({"source": "0", "masks": [SQUARE]})
    named = CameraConfig.model_validate({"source": "0", "masks": {"tv": SQUARE}})
    assert plain.mask_polygons == named.mask_polygons == (SQUARE,)
    assert CameraConfig.model_validate({"source": "0"}).mask_polygons == ()


def test_what_is_done_with_frames_leaves_the_source_as_it_is():
    camera = CameraConfig.model_validate({"source": "0", "fps": 5})
    for more in ({"masks": [SQUARE]}, {"zones": {"a": SQUARE}}, {"motion": {"gate": False}}):
        other = CameraConfig.model_validate({"source": "0", "fps": 5, **more})
        assert camera.same_source(other)
        assert other.same_source(camera)
    for more in ({"fps": 6}, {"source": "1"}, {"rotate": 90}):
        assert not camera.same_source(
            CameraConfig.model_validate({"source": "0", "fps": 5, **more})
        )
