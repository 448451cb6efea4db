"""Turns of heads: none on the template, growing with the nose's way, blind to size and roll."""

import numpy as np
import pytest

pytest.importorskip("kornia", reason="kornia is not installed: pip install 'edge-fiqa[train]'")

from edge_fiqa.faces.detector import DetectedFace
from edge_fiqa.faces.template import TEMPLATE
from edge_fiqa.training.head_turn import head_turn, turns_of


def moved(point, by):
    points = TEMPLATE.copy()
    points[point] += by
    return points


def test_the_template_looks_straight_ahead():
    np.testing.assert_allclose(head_turn(TEMPLATE), 0, atol=1e-9)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_nose_goes_where_the_head_turns(side):
    along = [head_turn(moved(2, (side * shift, 0))) for shift in (2, 6, 12)]
    up = [head_turn(moved(2, (0, side * shift))) for shift in (2, 4, 8)]
    assert 0 < along[0][0] < along[1][0] < along[2][0] < 1
    assert 0 < up[0][1] < up[1][1] < up[2][1] < 1
    assert max(pitch for _, pitch in along) < 0.05
    assert max(yaw for yaw, _ in up) < 0.05
    assert head_turn(moved(2, (side * 60, 0)))[0] == 1


def test_size_place_and_roll_do_not_matter():
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = moved(2, (7, 3))
    np.testing.assert_allclose(head_turn(points), head_turn(1.7 * points @ turn.T + 9), atol=1e-6)


def test_a_face_without_points_or_beside_the_middle_is_unknown():
    class Detector:
        answers = iter(
            [
                [],
                [DetectedFace((0, 0, 9, 9), TEMPLATE + 40, 0.9)],
                [DetectedFace((0, 0, 9, 9), TEMPLATE + 90, 0.9)],
            ]
        )

        def detect(self, picture):
            assert picture.shape == (192, 192, 3)
            return next(self.answers)

    found = turns_of(np.zeros((3, 112, 112, 3), np.uint8), Detector())
    np.testing.assert_allclose(found, [[np.nan] * 2, [0, 0], [np.nan] * 2], atol=1e-6)
