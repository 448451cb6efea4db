"""Faces that do not move are a poster's, also when the detector loses them now and then."""

import numpy as np
import pytest

from edge_fiqa.gateway.tracks.stationary import MOST_PLACES, StationaryFaces, overlap

POSTER = (100.0, 50.0, 40.0, 50.0)
AWAY = (180.0, 50.0, 40.0, 50.0)


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
    assert see_for(StationaryFaces(60.0, frame_s=1.0), 1, 61, 0.0) == [False] * 60 + [True] * 2
    assert not any(see_for(StationaryFaces(None), 1, 200, 0.0))


def test_a_detector_s_noise_is_no_movement_and_one_wrong_box_neither():
    faces, rng = StationaryFaces(60.0, frame_s=1.0), np.random.default_rng(0)
    for now in range(60):
        box = np.array(POSTER) + rng.normal(0, 1.0, 4)
        wrong = now % 10 == 5
        assert not faces.see(1, tuple(box + 30 * wrong), float(now))
    assert faces.see(1, POSTER, 60.0)


@pytest.mark.parametrize("moved", [(112, 50, 40, 50), (100, 50, 52, 65), (100, 65, 40, 50)])
def test_who_moves_within_the_limit_is_not_stationary(moved):
    """By a third of the face, or nearer to the camera."""
    faces = StationaryFaces(60.0, frame_s=1.0)
    for turn in range(6):
        box = moved if turn % 2 else POSTER
        assert not any(see_for(faces, 1, 49, 50.0 * turn, box))


def test_somebody_who_comes_nearer_slowly_moves():
    """From frame to frame by less than any noise."""
    faces = StationaryFaces(30.0, frame_s=1.0)
    for now in range(60):
        side = 40 * 1.02**now
        assert not faces.see(1, (100.0, 50.0, side, side), float(now))


def test_a_stationary_face_that_moves_is_somebody_again():
    """Once it was elsewhere for a second."""
    faces = StationaryFaces(60.0, frame_s=1.0)
    assert see_for(faces, 1, 60, 0.0)[-1]
    assert see_for(faces, 1, 2, 61.0, AWAY) == [True, False, False]


def test_the_times_of_tracks_at_one_place_add_up():
    """A poster that the detector loses for three seconds after every nineteen."""
    faces = StationaryFaces(60.0, frame_s=1.0)
    stationary = []
    for number in range(4):
        stationary += see_for(faces, number, 19, 22.0 * number)
        faces.end(number, 22.0 * number + 21)
    assert stationary == [False] * 63 + [True] * 17  # 3 times 19 s, and the 3 s that are missing
    assert faces.see(9, POSTER, 140.0)  # known at once
    faces.end(9, 141.0)


def test_a_place_that_was_empty_for_as_long_as_it_took_is_forgotten():
    for empty_s, known in ((59.0, True), (61.0, False)):
        faces = StationaryFaces(60.0, frame_s=1.0)
        see_for(faces, 1, 60, 0.0)
        faces.end(1, 62.0)
        assert faces.see(2, POSTER, 60.0 + empty_s) == known


def test_a_place_where_people_come_and_go_heals():
    """Somebody sat there for a minute; after that others stand there for 8 s of every 30."""
    faces = StationaryFaces(60.0, frame_s=1.0)
    assert see_for(faces, 0, 60, 0.0)[-1]
    faces.end(0, 61.0)
    silent = []
    for number in range(1, 10):
        silent.append(all(see_for(faces, number, 8, 60.0 + 30 * number)))
        faces.end(number, 70.0 + 30 * number)
    assert silent[0]
    assert not any(silent[4:])


@pytest.mark.parametrize("every_s", [15, 30, 60, 200, 601])
def test_visitors_at_one_spot_are_no_poster(every_s):
    """They stand there for eight seconds each, one after the other, at the same pixels."""
    faces = StationaryFaces(60.0, frame_s=1.0)
    for number in range(100):
        assert not any(see_for(faces, number, 8, float(every_s) * number))
        faces.end(number, every_s * number + 10.0)


def test_a_face_that_is_there_for_half_of_the_time_is_no_poster():
    """With gaps of four seconds, over which the place is still known."""
    faces = StationaryFaces(20.0, frame_s=1.0)
    for number in range(100):
        assert not any(see_for(faces, number, 4, 8.0 * number))
        faces.end(number, 8.0 * number + 6)


def known_poster(number=1):
    faces = StationaryFaces(20.0, frame_s=0.1)
    see_for(faces, number, 25, 0.0, step=0.1)
    return faces


@pytest.mark.parametrize("box", [(116, 50, 24, 50), (100, 50, 40, 20), (105, 55, 20, 20)])
def test_a_poster_that_is_hidden_in_part_is_at_its_place(box):
    """Its box lies inside; before a place is stationary such a box has moved, see above."""
    faces = known_poster()
    assert all(see_for(faces, 1, 5, 25.1, box, step=0.1))
    faces.end(1, 30.5)
    assert all(see_for(faces, 2, 5, 31.0, box, step=0.1))


def test_a_track_that_starts_beside_a_poster_is_silent_until_it_is_elsewhere_for_a_second():
    faces = known_poster()
    faces.end(1, 25.0)
    beside, apart = (120.0, 50.0, 40.0, 50.0), (141.0, 50.0, 40.0, 50.0)
    assert see_for(faces, 2, 1.5, 26.0, beside, step=0.25) == [True] * 4 + [False] * 3
    assert not faces.see(3, apart, 26.0)
    assert faces.see(4, beside, 28.0)
    assert all(see_for(faces, 4, 5, 28.1, POSTER, step=0.1))  # it was the poster


def test_who_walks_away_from_a_poster_is_followed_though_another_track_is_the_poster():
    faces = known_poster()
    faces.end(1, 25.0)
    assert faces.see(2, POSTER, 26.0)
    walker = []
    for step in range(20):
        now = 26.1 + 0.1 * step
        assert faces.see(3, POSTER, now)
        walker.append(faces.see(2, (180.0 + 5 * step, 50.0, 40.0, 50.0), now))
    assert walker == [True] * 10 + [False] * 10


def test_a_face_that_was_not_looked_at_again_neither_moves_nor_comes_back():
    faces = known_poster()
    assert faces.see(1, AWAY, 25.1)  # one wrong box, carried on for five seconds
    for now in np.arange(25.2, 30.1, 0.1):
        assert faces.see(1, AWAY, float(now), looked=False)
    assert faces.see(1, POSTER, 30.2)
    assert faces.see(1, AWAY, 30.3)
    assert not faces.see(1, AWAY, 31.4)


def test_another_picture_has_no_places():
    faces = known_poster()
    faces.forget()
    assert not faces.see(1, POSTER, 25.1)
    assert not faces.see(2, POSTER, 25.1)


def test_another_place_is_not_known():
    faces = StationaryFaces(60.0, frame_s=1.0)
    see_for(faces, 1, 60, 0.0)
    faces.end(1, 61.0)
    assert not faces.see(2, (140.0, 50.0, 40.0, 50.0), 62.0)
    assert faces.see(3, POSTER, 62.0)


def test_a_crowd_does_not_push_the_poster_out():
    faces = StationaryFaces(60.0, frame_s=1.0)
    see_for(faces, 0, 60, 0.0)
    faces.end(0, 61.0)
    for number in range(1, 4 * MOST_PLACES):
        box = (1000.0 + 50 * number, 0.0, 40.0, 50.0)
        see_for(faces, number, 6, 61.0 + number / 10, box)
        faces.end(number, 70.0 + number / 10)
    assert len(faces._places) <= MOST_PLACES
    assert faces.see(9999, POSTER, 100.0)


def test_who_walks_for_hours_leaves_no_trail_of_places():
    """Beside the poster, which stays known, though no track begins or ends."""
    faces = StationaryFaces(60.0, frame_s=1.0)
    see_for(faces, 0, 60, 0.0)
    for second in range(61, 10_000):
        assert faces.see(0, POSTER, float(second))
        box = (1000.0 + 50 * (second % 97), 0.0, 40.0, 50.0)
        assert not faces.see(1, box, float(second))
        assert len(faces._places) < 10
    faces.end(0, 10_000.0)
    assert faces.see(2, POSTER, 10_001.0)
