"""What the gate looks at: what changed since the last look in that place, and from time to time all."""

import numpy as np
import pytest

from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.tracks.motion_gate import WHOLE, MotionGate

SIZE = (640, 360)
NOBODY = ()


def frame(*boxes, light=100):
    image = np.full((360, 640, 3), light, np.uint8)
    for x, y, width, height in boxes:
        image[y : y + height, x : x + width] = 220
    return image


@pytest.fixture
def gate():
    gate = MotionGate(MotionConfig(still_s=1.0))
    assert gate.plan(frame(), SIZE, NOBODY, 0.0) == WHOLE
    return gate


def test_a_still_scene_is_looked_at_again_after_still_s_only(gate):
    looks = [gate.plan(frame(), SIZE, NOBODY, tenth / 10) for tenth in range(1, 21)]
    assert [look is not None for look in looks] == [number % 10 == 9 for number in range(20)]
    assert looks[9] == looks[19] == WHOLE


def test_what_changed_lies_in_the_regions_with_a_margin(gate):
    look = gate.plan(frame((300, 100, 40, 50)), SIZE, NOBODY, 0.1)
    (region,) = look.regions
    x, y, width, height = region
    assert x <= 300 - 28
    assert y <= 100 - 28
    assert x + width >= 340 + 28
    assert y + height >= 150 + 28
    assert width * height < 0.25 * 640 * 360
    assert gate.plan(frame((300, 100, 40, 50)), SIZE, NOBODY, 0.2) is None


def test_slow_changes_add_up(gate):
    """Two levels a frame are below the threshold, and are looked at once they are eight together."""
    quiet, face = frame(), (slice(100, 200), slice(200, 300))
    planned = []
    for step in range(1, 5):
        image = quiet.copy()
        image[face] += np.uint8(2 * step)
        planned.append(gate.plan(image, SIZE, NOBODY, step / 10))
    assert planned[:3] == [None, None, None]
    assert planned[3] is not None


def test_noise_is_no_change(gate):
    rng = np.random.default_rng(0)
    for step in range(1, 9):
        noisy = np.clip(frame() + rng.normal(0, 6, (360, 640, 1)), 0, 255).astype(np.uint8)
        assert gate.plan(noisy, SIZE, NOBODY, step / 10) is None


def test_a_light_that_goes_on_is_looked_at_once_as_a_whole(gate):
    assert gate.plan(frame(light=150), SIZE, NOBODY, 0.1) == WHOLE
    assert gate.plan(frame(light=150), SIZE, NOBODY, 0.2) is None


def test_a_known_face_that_a_region_touches_is_wholly_in_it(gate):
    face = (360.0, 60.0, 120.0, 160.0)
    look = gate.plan(frame((350, 120, 20, 20)), SIZE, [face], 0.1)
    (region,) = look.regions
    assert region[0] + region[2] >= 360 + 1.5 * 120
    assert region[1] + region[3] >= 60 + 1.5 * 160
    assert region[1] == 0  # 60 - 0.5 * 160 is above the frame
    assert look.covers(face)
    assert not look.covers((20.0, 20.0, 50.0, 50.0))


def test_what_moves_far_apart_is_looked_at_apart_and_a_crowd_as_a_whole(gate):
    corners = (10, 10, 30, 30), (600, 320, 30, 30)
    look = gate.plan(frame(*corners), SIZE, NOBODY, 0.1)
    assert len(look.regions) == 2
    crowd = [(x, y, 30, 30) for x in range(20, 600, 140) for y in range(20, 330, 140)]
    assert gate.plan(frame(*crowd), SIZE, NOBODY, 0.2) == WHOLE


def test_a_face_seen_once_is_looked_at_in_the_next_frame_and_not_for_ever(gate):
    face = (300.0, 100.0, 40.0, 50.0)
    gate.plan(frame((300, 100, 40, 50)), SIZE, NOBODY, 0.1)
    gate.look_again([face])
    assert gate.plan(frame((300, 100, 40, 50)), SIZE, [face], 0.2).covers(face)
    gate.look_again([face])  # still not confirmed
    assert gate.plan(frame((300, 100, 40, 50)), SIZE, [face], 0.3) is None


def test_after_a_failure_and_after_a_new_size_the_whole_frame_is_looked_at(gate):
    gate.forget()
    assert gate.plan(frame(), SIZE, NOBODY, 0.1) == WHOLE
    assert gate.plan(frame()[:300], (640, 300), NOBODY, 0.2) == WHOLE
