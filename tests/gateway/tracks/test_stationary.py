"""Faces that do not move are a poster's, also when the detector loses them now and then."""

import numpy as np
import pytest

from edge_fiqa.gateway.tracks.stationary import MOST_PLACES, StationaryFaces, overlap

POSTER = (100.0, 50.0, 40.0, 50.0)


def see_for(faces, number, seconds, start, box=POSTER, step=1.0):
    """What `see` says at each step, first and last included."""
    times = np.arange(start, start + seconds + step / 2, step)
    return [faces.see(number, box, float(now)) for now in times]


def test_overlap_is_intersection_over_union():
    assert overlap(POSTER, POSTER) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (2, 3, 4, 5)) == pytest.approx(0.2)
    assert overlap((0, 0, 10, 10), (10, 0, 10, 10)) == 0


def test_a_face_is_stationary_after_the_limit_and_not_before():
    assert see_for(StationaryFaces(60.0), 1, 61, 0.0) == [False] * 60 + [True] * 2
    assert not any(see_for(StationaryFaces(None), 1, 200, 0.0))


def test_a_detector_s_noise_is_no_movement_and_one_wrong_box_neither():
    faces, rng = StationaryFaces(60.0), np.random.default_rng(0)
    for now in range(60):
        box = np.array(POSTER) + rng.normal(0, 1.0, 4)
        wrong = now % 10 == 5
        assert not faces.see(1, tuple(box + 30 * wrong), float(now))
    assert faces.see(1, POSTER, 60.0)


@pytest.mark.parametrize("moved", [(112, 50, 40, 50), (100, 50, 52, 65), (100, 65, 40, 50)])
def test_who_moves_within_the_limit_is_not_stationary(moved):
    """By a third of the face, or nearer to the camera."""
    faces = StationaryFaces(60.0)
    for turn in range(6):
        box = moved if turn % 2 else POSTER
        assert not any(see_for(faces, 1, 49, 50.0 * turn, box))


def test_somebody_who_comes_nearer_slowly_moves():
    """From frame to frame by less than any noise."""
    faces = StationaryFaces(30.0)
    for now in range(60):
        side = 40 * 1.02**now
        assert not faces.see(1, (100.0, 50.0, side, side), float(now))


def test_a_stationary_face_that_moves_is_somebody_again():
    faces = StationaryFaces(60.0)
    assert see_for(faces, 1, 60, 0.0)[-1]
    assert see_for(faces, 1, 2, 61.0, (180.0, 50.0, 40.0, 50.0)) == [True, True, False]


def test_the_times_of_tracks_at_one_place_add_up():
    """A poster that the detector loses after twenty seconds each time."""
    faces = StationaryFaces(60.0)
    for number in range(3):
        assert not any(see_for(faces, number, 19, 30.0 * number))
        faces.end(number, 30.0 * number + 25)
    assert see_for(faces, 3, 10, 90.0) == [False] * 3 + [True] * 8
    faces.end(3, 101.0)
    assert faces.see(4, POSTER, 40_000.0)  # known at once, hours later
    faces.end(4, 40_001.0)
    assert not faces.see(5, POSTER, 40_001.0 + 25 * 3600)  # and not a day later


def test_a_place_that_is_not_yet_stationary_is_soon_forgotten():
    """Two who stand at the same counter one after the other are no poster."""
    faces = StationaryFaces(60.0)
    for number in range(10):
        assert not any(see_for(faces, number, 50, 200.0 * number))
        faces.end(number, 200.0 * number + 52)


def test_another_place_is_not_known():
    faces = StationaryFaces(60.0)
    see_for(faces, 1, 60, 0.0)
    faces.end(1, 61.0)
    assert not faces.see(2, (130.0, 50.0, 40.0, 50.0), 62.0)
    assert faces.see(3, POSTER, 62.0)


def test_a_crowd_does_not_push_the_poster_out():
    faces = StationaryFaces(60.0)
    see_for(faces, 0, 60, 0.0)
    faces.end(0, 61.0)
    for number in range(1, 4 * MOST_PLACES):
        box = (1000.0 + 50 * number, 0.0, 40.0, 50.0)
        see_for(faces, number, 6, 61.0 + number / 10, box)
        faces.end(number, 70.0 + number / 10)
    assert len(faces._known) <= MOST_PLACES
    assert faces.see(9999, POSTER, 100.0)
