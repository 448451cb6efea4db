"""People are followed by where their faces are."""

from edge_fiqa.gateway.tracks.tracker import Tracker


def step(tracks, now, *boxes):
    return tracks.update([(float(x), 50.0, 30.0, 30.0) for x in boxes], [0.9] * len(boxes), now)


def test_two_who_walk_past_each_other_keep_their_numbers():
    tracks = Tracker(lost_s=1.0)
    assert step(tracks, 0.0, 0, 400) == ([None, None], [])  # seen once: perhaps no face
    for frame in range(1, 20):
        left, right = 12 * frame, 400 - 9 * frame
        boxes = (left, right) if frame % 2 else (right, left)
        numbers, ended = step(tracks, frame / 10, *boxes)
        assert numbers == ([1, 2] if frame % 2 else [2, 1])
        assert ended == []


def test_a_fast_small_face_is_the_same_one():
    """It moves by more than its width from frame to frame."""
    tracks = Tracker(lost_s=1.0)
    found = [step(tracks, frame / 5, 40 * frame)[0] for frame in range(6)]
    assert found[1:] == [[1]] * 5


def test_one_who_is_hidden_for_a_moment_stays_and_one_who_is_gone_ends():
    tracks = Tracker(lost_s=1.0)
    for frame in range(5):
        step(tracks, frame / 10, 100)
    assert step(tracks, 0.5) == ([], [])
    assert step(tracks, 0.9, 100) == ([1], [])
    assert step(tracks, 1.5) == ([], [])
    assert step(tracks, 2.0) == ([], [1])
    assert step(tracks, 2.1, 100)[0] == [None]
    assert step(tracks, 2.2, 100)[0] == [2]  # somebody new


def test_everybody_ends_with_the_camera():
    tracks = Tracker(lost_s=1.0)
    step(tracks, 0.0, 0, 200)
    step(tracks, 0.1, 0, 200)
    assert sorted(tracks.end_all()) == [1, 2]
    assert tracks.end_all() == []
    step(tracks, 0.2, 0)
    assert step(tracks, 0.3, 0)[0] == [3]


def test_pictures_that_are_not_a_film():
    tracks = Tracker(lost_s=1.0, track=False)
    assert step(tracks, 0.0, 0, 200) == ([1, 2], [])
    assert step(tracks, 0.1, 0) == ([3], [1, 2])
    assert tracks.end_all() == [3]
