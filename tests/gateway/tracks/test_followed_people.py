"""Who is followed, and when a track ends though its face is still there."""

from collections import Counter

from edge_fiqa.gateway.tracks.followed_people import FollowedPeople, Limits

POSTER = (400.0, 50.0, 30.0, 30.0)


class Film:
    """One frame after the other, five in a second."""

    def __init__(self, track=True, **limits):
        self.people = FollowedPeople(Limits(lost_s=1.0, **limits), track)
        self.now, self.ended, self.frames = 0.0, [], Counter()

    def play(self, seconds, *boxes):
        """-> the last frame's faces. `frames` counts those in which others know of a track."""
        for _ in range(round(5 * seconds)):
            followed = self.people.update(boxes, [0.9] * len(boxes), self.now)
            self.ended += followed.ended
            self.frames.update(number for number in followed.numbers if number is not None)
            assert not {number for number, _ in self.ended} & set(followed.numbers)
            self.now += 0.2
        return followed


def walk(step):
    return (4.0 * step, 200.0, 30.0, 30.0)


def test_a_poster_ends_once_and_is_nobody_from_then_on():
    film = Film(stationary_s=20.0)
    assert film.play(19, POSTER).numbers == [1]
    last = film.play(30, POSTER)
    assert film.ended == [(1, "stationary")]
    assert (last.numbers, last.stationary) == ([None], [True])
    film.play(3)  # the detector loses it
    assert film.play(60, POSTER).numbers == [None]
    assert film.ended == [(1, "stationary")]
    assert set(film.frames) == {1}


def test_who_walks_past_the_poster_is_followed():
    film = Film(stationary_s=20.0)
    film.play(40, POSTER)
    for step in range(50):
        film.play(0.2, POSTER, walk(step))
    film.play(3, POSTER)
    assert film.ended[0] == (1, "stationary")
    assert [reason for _, reason in film.ended[1:]] == ["left"]


def test_a_still_person_who_moves_is_a_new_track():
    film = Film(stationary_s=20.0)
    film.play(40, POSTER)
    for step in range(20):
        x, y, width, height = POSTER
        last = film.play(0.2, (x - 5 * step, y, width, height))
    (number,) = last.numbers
    assert number is not None
    assert film.ended == [(1, "stationary")]
    assert film.people.end_all(film.now) == [number]


def test_the_longest_track_ends_and_its_person_goes_on_as_another():
    film = Film(longest_track_s=20.0)
    for step in range(5 * 45):
        film.play(0.2, walk(step))
    assert [reason for _, reason in film.ended] == ["longest_track"] * 2
    assert len(film.frames) == 3
    assert film.frames.total() == 5 * 45 - 1  # all but the very first, which is not followed yet


def test_without_limits_nothing_ends():
    film = Film()
    film.play(2000, POSTER)
    assert film.ended == []
    assert set(film.frames) == {1}


def test_pictures_that_are_not_a_film_have_no_stationary_faces():
    film = Film(track=False, stationary_s=20.0)
    assert film.play(40, POSTER).stationary == [False]
    assert {reason for _, reason in film.ended} == {"left"}


def test_a_limit_that_changes_holds_from_then_on():
    film = Film(stationary_s=1000.0)
    film.play(60, POSTER)
    assert film.ended == []
    film.people.limits = Limits(1.0, stationary_s=50.0)
    film.play(0.2, POSTER)
    assert film.ended == [(1, "stationary")]


def test_the_end_of_a_camera_names_those_that_others_know():
    film = Film(stationary_s=20.0)
    film.play(30, POSTER)
    film.play(1, POSTER, walk(0))
    (number,) = film.people.end_all(film.now)
    assert number in film.frames
    assert film.play(5, POSTER).stationary == [True]  # the poster is known after a reconnect
