"""Of people who have a good shot, one face in an interval is scored."""

from edge_fiqa.gateway.queue.good_shots import GoodShotInterval


def taken(shots, track, arrived):
    """Whether a face is wanted; one that is wanted is taken."""
    if shots.is_too_soon(track, arrived):
        return False
    shots.note(track, arrived)
    return True


def test_every_face_of_a_person_without_a_good_shot_is_let_through():
    shots = GoodShotInterval(0.3, {"another"})
    assert all(taken(shots, "a", k / 10) for k in range(30))
    assert all(taken(shots, None, 0.0) for _ in range(3))  # pushed: nobody's


def test_of_each_person_with_one_a_face_an_interval_is():
    shots = GoodShotInterval(0.3, {"a", "b"})
    times = [k * 0.1 for k in range(10)]
    let_through = {
        track: [k for k, now in enumerate(times) if taken(shots, track, now + 1e-6 * k)]
        for track in ("a", "b")
    }
    assert let_through == {"a": [0, 3, 6, 9], "b": [0, 3, 6, 9]}


def test_no_interval_is_every_face():
    shots = GoodShotInterval(0, {"a"})
    assert all(taken(shots, "a", 5.0) for _ in range(3))


def test_those_who_have_left_take_no_memory():
    good = set()
    shots = GoodShotInterval(1.0, good)
    for number in range(1000):
        good.add(f"t{number}")
        assert taken(shots, f"t{number}", float(number))
        good.discard(f"t{number}")
    assert len(shots._last) == 1


def test_a_face_that_is_lost_begins_no_interval():
    shots = GoodShotInterval(60.0, {"a"})
    assert not shots.is_too_soon("a", 0.0)  # wanted, and then the queue was full
    assert not shots.is_too_soon("a", 1.0)
