"""What is told of a person's faces, from the definition."""

import msgspec
import pytest

from edge_fiqa.gateway.events.best_shot import BestShot
from edge_fiqa.record import Algorithm, Cost, Decision, Exit, Quality, Record


def record(scalar, accepted=None, raw=1.0):
    return Record(
        id=f"face {scalar}",
        source="door",
        box=None,
        landmarks=None,
        quality=Quality(scalar, raw, None, "ok", Algorithm("m", "1", "sha256:0"), None),
        exit=Exit(12, "full", (), "FW"),
        cost=Cost(None, None, None),
        decision=Decision(None if accepted is None else 50, accepted, None, None),
        warnings=(),
    )


def test_first_then_only_clearly_better_ones():
    shot = BestShot()
    events = [shot.offer(record(q), clearly=5) for q in (40, 44, 30, 45, 49, 50)]
    assert events == ["new", None, None, "update", None, "update"]


def test_the_best_is_kept_even_where_nothing_is_told():
    shot = BestShot()
    for quality in (40, 44, 30):
        shot.offer(record(quality), clearly=5)
    assert shot.best.quality.scalar == 44
    assert shot.reported.quality.scalar == 40


def test_passing_the_gate_is_always_told():
    shot = BestShot()
    assert shot.offer(record(49, accepted=False), clearly=5) == "new"
    assert shot.offer(record(50, accepted=True), clearly=5) == "update"
    assert shot.offer(record(52, accepted=True), clearly=5) is None


def test_without_a_calibration_the_raw_score_decides():
    shot = BestShot()
    assert shot.offer(record(None, raw=-1.5), clearly=0.5) == "new"
    assert shot.offer(record(None, raw=-1.8), clearly=0.5) is None
    assert shot.offer(record(None, raw=-0.9), clearly=0.5) == "update"


def test_a_failure_is_no_shot():
    failed = msgspec.structs.replace(
        record(None), quality=msgspec.structs.replace(record(None).quality, raw=None)
    )
    shot = BestShot()
    assert shot.offer(failed, clearly=5) is None
    assert shot.best is None
    assert not shot.is_good(0)


@pytest.mark.parametrize(("quality", "good"), [(59, False), (60, True)])
def test_good_enough(quality, good):
    shot = BestShot()
    shot.offer(record(quality), clearly=5)
    assert shot.is_good(60) is good


def test_of_equally_good_faces_the_first_is_kept():
    shot, first = BestShot(), record(40)
    shot.offer(first, clearly=0)
    assert shot.offer(record(40), clearly=0) is None
    assert shot.best is first
