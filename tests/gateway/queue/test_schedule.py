"""Earliest deadline first, less depth before skipping, skipping before dropping."""

import itertools
import math

import numpy as np
import pytest

from edge_fiqa.gateway.queue.schedule import (
    LEAST_SAVING,
    Demand,
    Rules,
    Speed,
    WaitingFace,
    admit,
    at_fixed_exit,
    exits_to_load,
    grant_depth,
)

SPEED = Speed(exits=(1, 2, 3, 4), seconds=(0.1, 0.2, 0.3, 0.4))
RULES = Rules(least_exit=1, utilisation=1.0, margin_s=0.0, caution=1.0)


def face(number, deadline, *, arrived=0.0, has_good_shot=False):
    return WaitingFace(number, arrived, deadline, has_good_shot)


def test_the_earliest_deadline_is_next_at_full_depth_while_there_is_time():
    grant = grant_depth(0.0, [face(1, 9.0), face(2, 5.0), face(3, 7.0)], SPEED, 0.0, RULES)
    assert (grant.run, grant.exit, grant.skipped, grant.dropped) == ((2,), 4, (), ())


def test_a_burst_lowers_the_depth_for_all():
    """Four faces within 1.0 s: 0.4 s each does not fit, 0.2 s each does."""
    waiting = [face(n, 1.0) for n in range(4)]
    assert grant_depth(0.0, waiting, SPEED, 0.0, RULES).exit == 2
    assert grant_depth(0.0, waiting[:2], SPEED, 0.0, RULES).exit == 4


def test_demand_lowers_the_depth_before_a_queue_has_grown():
    """3 faces/s at 0.4 s are more than one worker has; at 0.3 s they are 90 % of it."""
    waiting = [face(1, 100.0)]
    assert grant_depth(0.0, waiting, SPEED, 3.0, RULES).exit == 3
    assert grant_depth(0.0, waiting, SPEED, 3.0, Rules(1, 0.5, 0.0, 1.0)).exit == 1
    whole = Speed((1, 2), (0.125, 0.25))  # 4 faces/s are all of it, exactly
    assert grant_depth(0.0, waiting, whole, 4.0, RULES).exit == 2
    two_workers = Speed(SPEED.exits, SPEED.seconds, workers=2)
    assert grant_depth(0.0, waiting, two_workers, 3.0, RULES).exit == 4


def test_people_with_a_good_shot_are_skipped_before_anybody_is_dropped():
    """Within 0.25 s only two of 0.1 s fit."""
    waiting = [
        face(1, 0.25, arrived=-0.3),
        face(2, 0.25, arrived=-0.2, has_good_shot=True),
        face(3, 0.25, arrived=-0.1, has_good_shot=True),
        face(4, 0.25),
    ]
    grant = grant_depth(0.0, waiting, SPEED, 0.0, RULES)
    assert (grant.run, grant.exit) == ((1,), 1)
    assert set(grant.skipped) == {2, 3}
    assert grant.dropped == ()
    no_good_shots = [WaitingFace(w.id, w.arrived, w.deadline) for w in waiting]
    grant = grant_depth(0.0, no_good_shots, SPEED, 0.0, RULES)
    assert grant.dropped == (1, 2)  # the oldest


def test_what_is_late_is_not_started():
    grant = grant_depth(1.0, [face(1, 1.05), face(2, 1.05, has_good_shot=True)], SPEED, 0.0, RULES)
    assert (grant.run, grant.dropped, grant.skipped) == ((), (1,), (2,))


def test_nothing_shallower_than_the_least_exit_is_answered():
    rules = Rules(least_exit=3, utilisation=1.0, margin_s=0.0, caution=1.0)
    grant = grant_depth(0.0, [face(n, 0.65) for n in range(4)], SPEED, 50.0, rules)
    assert grant.exit == 3
    assert len(grant.dropped) == 2


@pytest.mark.parametrize("demand", [0.0, 4.0, 6.0, 50.0])
def test_demand_leads_to_nothing_shallower_than_the_least_exit(demand):
    """6 faces/s are too many for exit 2, not for exit 1, which must not be granted all the same."""
    rules = Rules(least_exit=3, utilisation=1.0, margin_s=0.0, caution=1.0)
    exit = grant_depth(0.0, [face(1, 100.0)], SPEED, demand, rules).exit
    assert exit == (4 if demand == 0.0 else 3)


def test_faces_that_are_late_cost_no_other_face_its_place():
    """Two that are late, older, newer, with and without a good shot, before one that is in time."""
    late = [face(1, 0.05, arrived=-1.0), face(2, -3.0, arrived=0.5, has_good_shot=True)]
    in_time = face(3, 0.1, arrived=-2.0, has_good_shot=True)
    kept, lost = admit(0.0, [in_time, *late], 0.1)
    assert (kept, sorted(w.id for w in lost)) == ([in_time], [1, 2])


def test_where_no_exit_is_deep_enough_the_deepest_is_taken():
    """0.4 s of work: 0.5 s suffice, 0.35 s do not, although a shallower exit would be in time."""
    rules = Rules(least_exit=9, utilisation=1.0, margin_s=0.0, caution=1.0)
    in_time = grant_depth(0.0, [face(1, 0.5)], SPEED, 50.0, rules)
    assert (in_time.run, in_time.exit, in_time.dropped) == ((1,), 4, ())
    late = grant_depth(0.0, [face(1, 0.35)], SPEED, 50.0, rules)
    assert (late.run, late.exit, late.dropped) == ((), 4, (1,))


def test_the_margin_is_kept_free():
    assert grant_depth(0.0, [face(1, 0.4)], SPEED, 0.0, RULES).exit == 4
    assert grant_depth(0.0, [face(1, 0.4)], SPEED, 0.0, Rules(1, 1.0, 0.05, 1.0)).exit == 3


def test_depth_is_given_only_where_a_slower_machine_would_be_in_time_too():
    waiting = [face(n, 0.45) for n in range(2)]
    assert grant_depth(0.0, waiting, SPEED, 0.0, RULES).exit == 2
    assert grant_depth(0.0, waiting, SPEED, 0.0, Rules(1, 1.0, 0.0, 1.25)).exit == 1


def test_batches_only_where_they_gain_and_the_first_stays_in_time():
    waiting = [face(n, 1.0) for n in range(6)]
    assert len(grant_depth(0.0, waiting, SPEED, 0.0, RULES).run) == 1
    gaining = Speed((1,), (0.2,), marginal=0.25)
    assert grant_depth(0.0, waiting[:4], gaining, 0.0, RULES).run == (0, 1, 2, 3)
    late = [face(0, 0.31), *waiting[1:4]]
    assert grant_depth(0.0, late, gaining, 0.0, RULES).run == (0, 1, 2)  # in 0.3 s


def test_a_batch_may_end_at_the_deadline_itself():
    """0.25 s and half as much for each further face: two in 0.375 s, three in 0.5 s."""
    gaining = Speed((1,), (0.25,), marginal=0.5)
    assert gaining.batches
    assert [gaining.batch_seconds(0, n) for n in (1, 2, 3)] == [0.25, 0.375, 0.5]
    # All of them fit one after the other as well, so that nobody is dropped.
    waiting = [face(0, 0.375), face(1, 2.0), face(2, 2.0)]
    assert grant_depth(0.0, waiting, gaining, 0.0, RULES).run == (0, 1)


def test_workers_share_the_queue():
    """Four faces within 1.0 s at 0.4 s each: too much for one worker, 0.8 s for two."""
    two = Speed(SPEED.exits, SPEED.seconds, workers=2)
    assert grant_depth(0.0, [face(n, 1.0) for n in range(4)], two, 0.0, RULES).exit == 4
    # Twenty at the least depth, 0.1 s: two workers need 1.0 s, one would need 2.0 s.
    twenty = grant_depth(0.0, [face(n, 1.01) for n in range(20)], two, 0.0, RULES)
    assert (twenty.run, twenty.exit, twenty.dropped) == ((0,), 1, ())
    assert two.capacity == pytest.approx(5)


def test_a_slower_machine_takes_longer_at_every_exit():
    slower = Speed((1, 2), (0.25, 0.5), workers=3, marginal=0.75).scaled(2)
    assert slower == Speed((1, 2), (0.5, 1.0), workers=3, marginal=0.75)


def test_a_long_queue_is_taken_several_at_once():
    """Deciding costs time as well; nobody is late for it."""
    waiting = [face(n, 100.0) for n in range(40)]
    assert grant_depth(0.0, waiting, SPEED, 0.0, RULES).run == tuple(range(8))
    assert grant_depth(0.0, waiting[:33], SPEED, 0.0, RULES).run == tuple(range(8))
    assert grant_depth(0.0, waiting[:32], SPEED, 0.0, RULES).run == (0,)  # no more than a crowd
    urgent = [face(0, 0.5), *waiting[1:]]
    grant = grant_depth(0.0, urgent, SPEED, 0.0, RULES)
    assert (grant.run, grant.exit) == ((0,), 4)


def test_admission_loses_as_few_as_an_exhaustive_search():
    rng = np.random.default_rng(3)
    for _ in range(200):
        waiting = [face(n, float(rng.integers(1, 8))) for n in range(rng.integers(1, 8))]
        kept, lost = admit(0.0, waiting, 1.0)
        assert sorted(w.id for w in kept + lost) == sorted(w.id for w in waiting)
        assert _in_time(kept)
        best = max(
            size
            for size in range(len(waiting) + 1)
            for chosen in itertools.combinations(waiting, size)
            if _in_time(chosen)
        )
        assert len(kept) == best


def _in_time(faces):
    order = sorted(faces, key=lambda w: w.deadline)
    return all(place <= w.deadline for place, w in enumerate(order, start=1))


def test_a_fixed_exit_drops_what_does_not_fit():
    waiting = [face(n, 0.9, arrived=n) for n in range(3)]
    full = at_fixed_exit(0.0, waiting, SPEED)
    assert (full.run, full.exit, full.dropped) == ((1,), 4, (0,))
    assert at_fixed_exit(0.0, waiting, SPEED, exit=3).dropped == ()


def test_several_workers_at_a_fixed_exit():
    """Three faces of 0.4 s: two workers end them in 0.6 s, one worker in 1.2 s."""
    waiting = [face(n, 0.61, arrived=n) for n in range(3)]
    two = Speed(SPEED.exits, SPEED.seconds, workers=2)
    grant = at_fixed_exit(0.0, waiting, two)
    assert (grant.run, grant.exit, grant.dropped) == ((0,), 4, ())
    assert at_fixed_exit(0.0, waiting, SPEED).dropped == (0, 1)


def test_exits_that_save_little_are_not_loaded():
    twelve = tuple(range(1, 13))
    assert exits_to_load(twelve, twelve, 2) == (2, 3, 4, 5, 6, 8, 10, 12)
    assert exits_to_load(twelve, twelve, 7) == (8, 10, 12)
    assert exits_to_load((3, 6), (1.0, 1.1), 1) == (6,)
    assert exits_to_load((4,), (1.0,), 9) == (4,)
    assert exits_to_load((3, 6), (1.0, 2.0), 3) == (3, 6)
    assert exits_to_load((3, 6), (1 - LEAST_SAVING, 1.0), 3) == (3, 6)  # as much as it must be


def test_an_exit_to_load_is_compared_with_the_next_that_is_loaded():
    """Savings of a tenth each: every second one is loaded, counted from the deepest."""
    cost = [0.9**number for number in reversed(range(6))]
    assert exits_to_load((1, 2, 3, 4, 5, 6), cost, 1) == (2, 4, 6)


def test_demand_follows_the_rate():
    demand = Demand(window_s=2.0)
    assert demand.rate(0.0) == 0.0
    for number in range(400):
        demand.arrive(number / 20)
    assert demand.rate(20.0) == pytest.approx(20, rel=0.05)
    assert demand.rate(30.0) < 1  # five time constants of silence
    early = Demand(window_s=2.0)
    for number in range(20):
        early.arrive(number / 20)
    assert early.rate(1.0) == pytest.approx(20, rel=0.15)  # before the window is full


def test_demand_by_hand():
    """Weights fall by e in each window; those of the time since the first face are all that count."""
    for window, demand in ((2.0, Demand()), (4.0, Demand(window_s=4.0))):
        demand.arrive(10.0, 3)
        e = math.e
        assert demand.rate(10.0 + window) == pytest.approx(3 / e / (window * (1 - 1 / e)))
        assert demand.rate(10.0 + 2 * window) == pytest.approx(3 / e**2 / (window * (1 - 1 / e**2)))
        # At first as if a quarter of the window had been seen.
        for now in (10.0, 10.0 + window / 8):
            weight = 3 * math.exp(-(now - 10.0) / window)
            assert demand.rate(now) == pytest.approx(weight / (window * (1 - math.exp(-0.25))))
        demand.arrive(10.0 + window)
        assert demand.rate(10.0 + window) == pytest.approx((3 / e + 1) / (window * (1 - 1 / e)))


def test_the_first_face_is_no_endless_rate_and_a_late_one_no_step_back():
    demand = Demand(window_s=2.0)
    demand.arrive(5.0)
    assert 0 < demand.rate(5.0) < 3  # as if half a second had been seen
    late, both = Demand(window_s=2.0), Demand(window_s=2.0)
    for now in (5.0, 4.0):  # told out of order, by two cameras
        late.arrive(now)
    both.arrive(5.0, 2)
    assert late.rate(6.0) == both.rate(6.0)
