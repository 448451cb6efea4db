"""People are followed by where their faces are."""

from edge_fiqa.gateway.tracks.tracker import Tracker


def step(tracker, now, *boxes):
    return tracker.update([(float(x), 50.0, 30.0, 30.0) for x in boxes], [0.9] * len(boxes), now)


def test_two_who_walk_past_each_other_keep_their_numbers():
    tracker = Tracker(lost_s=1.0)
    assert step(tracker, 0.0, 0, 400) == ([None, None], [])  # seen once: perhaps no face
    for frame in range(1, 20):
        left, right = 12 * frame, 400 - 9 * frame
        boxes = (left, right) if frame % 2 else (right, left)
        numbers, ended = step(tracker, frame / 10, *boxes)
        assert numbers == ([1, 2] if frame % 2 else [2, 1])
        assert ended == []


def test_a_fast_small_face_is_the_same_one():
    """It moves by more than its width from frame to frame."""
    tracker = Tracker(lost_s=1.0)
    numbers = [step(tracker, frame / 5, 40 * frame)[0] for frame in range(6)]
    assert numbers[1:] == [[1]] * 5


def test_one_who_is_hidden_for_a_moment_stays_and_one_who_is_gone_ends():
    tracker = Tracker(lost_s=1.0)
    for frame in range(5):
        step(tracker, frame / 10, 100)
    assert step(tracker, 0.5) == ([], [])
    assert step(tracker, 0.9, 100) == ([1], [])
    assert step(tracker, 1.5) == ([], [])
    assert step(tracker, 2.0) == ([], [1])
    assert step(tracker, 2.1, 100)[0] == [None]
    assert step(tracker, 2.2, 100)[0] == [2]  # somebody new


def test_everybody_ends_with_the_camera():
    tracker = Tracker(lost_s=1.0)
    step(tracker, 0.0, 0, 200)
    step(tracker, 0.1, 0, 200)
    assert sorted(tracker.end_all()) == [1, 2]
    assert tracker.end_all() == []
    step(tracker, 0.2, 0)
    assert step(tracker, 0.3, 0)[0] == [3]


def test_pictures_that_are_not_a_film():
    tracker = Tracker(lost_s=1.0, track=False)
    assert step(tracker, 0.0, 0, 200) == ([1, 2], [])
    assert step(tracker, 0.1, 0) == ([3], [1, 2])
    assert tracker.end_all() == [3]
