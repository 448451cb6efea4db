"""Audits: silent while the promise is kept, loud soon after it is not."""

import numpy as np
import pytest

from edge_fiqa.calibration.audit import Audit
from edge_fiqa.errors import ConfigError
from edge_fiqa.measurement.all_exits import synthetic_faces

TRAIL = np.zeros(4, np.float32)


def audits_until_alarm(rate, most, seed, alarm=1000.0):
    rng = np.random.default_rng(seed)
    audit = Audit(0.01, alarm=alarm)
    for number in range(most):
        audit.see(TRAIL, bool(rng.random() < rate))
        if audit.suspended:
            return number + 1
    return most


def test_a_kept_promise_seldom_alarms():
    # At the allowed rate itself, the worst that is kept, the mean run is at least the alarm level.
    runs = [audits_until_alarm(0.01, 5000, seed) for seed in range(40)]
    assert np.mean(runs) > 1000
    assert [audits_until_alarm(0.002, 5000, seed) for seed in range(10)] == [5000] * 10


def test_a_broken_promise_is_found_soon():
    runs = [audits_until_alarm(0.08, 5000, seed) for seed in range(40)]
    assert np.median(runs) < 200
    assert max(runs) < 1000


def test_the_message_counts(monkeypatch):
    audit = Audit(0.01)
    for number in range(100):
        audit.see(TRAIL, number % 5 == 0)
    assert audit.suspended.startswith("early exits suspended: ")
    assert "1.00% were promised" in audit.suspended


def test_trails_after_the_alarm_are_kept_for_recalibration():
    audit = Audit(0.01)
    while not audit.suspended:
        audit.see(TRAIL, True)
    assert audit.trails[0].size == 0
    for number in range(7):
        audit.see(TRAIL + number, False)
    kept, persons = audit.trails
    np.testing.assert_array_equal(kept[:, 0], np.arange(7))
    assert len(set(persons)) == 7
    audit.restart(0.02)
    assert (audit.suspended, audit.faces, audit.risk) == (None, 0, 0.02)
    assert audit.trails[0].size == 0


def test_memory_is_bounded():
    audit = Audit(0.01)
    for _ in range(6000):
        audit.see(TRAIL, False)
    assert len(audit.trails[0]) == 5000


def test_a_person_is_counted_once():
    audit = Audit(0.01)
    for _ in range(3):
        audit.see(TRAIL, True, "door/1", "door")
    assert (audit.faces, audit.flips) == (1, 1)
    audit.see(TRAIL, False, "door/2", "door")
    assert (audit.faces, audit.flips) == (2, 1)
    crops = synthetic_faces(4)
    all_of_them = Audit(0.01, share=1)
    all_of_them.see(TRAIL, False, "a")
    assert all_of_them.chosen(crops, ["a", "b", None, "a"]).tolist() == [False, True, True, False]


def test_a_kept_promise_is_silent_however_long_each_person_stays():
    """50 frames a person that flip together: as faces, the same stream alarms in most runs."""
    alarms = {"by person": 0, "by face": 0}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        audits = {kind: Audit(0.01) for kind in alarms}
        for number in range(1000):
            flipped = bool(rng.random() < 0.01)
            for _ in range(50):
                audits["by person"].see(TRAIL, flipped, str(number))
                audits["by face"].see(TRAIL, flipped)
        for kind, audit in audits.items():
            alarms[kind] += audit.suspended is not None
    assert alarms["by person"] <= 2
    assert alarms["by face"] >= 7


def test_of_one_person_a_few_trails_are_kept_from_all_of_the_time():
    audit = Audit(0.01)
    for number in range(200):
        for frame in range(50):
            audit.see(TRAIL + frame, False, str(number), "door")
    kept, persons = audit.trails
    assert len(kept) == 1000
    assert max(persons.count(str(number)) for number in range(200)) == 5
    assert kept.mean() == pytest.approx(24.5, abs=2)
    audit.see(TRAIL, False, None, "door")
    audit.see(TRAIL, False, None, "door")
    assert audit.trails[1].count("door") == 2  # persons not known: one source, one group


def test_the_same_faces_are_chosen_again():
    crops = synthetic_faces(400)
    audit = Audit(0.01, share=0.25)
    chosen = audit.chosen(crops)
    assert 0.15 < chosen.mean() < 0.35
    np.testing.assert_array_equal(audit.chosen(crops[::-1])[::-1], chosen)
    assert not Audit(0.01, share=0).chosen(crops).any()
    assert Audit(0.01, share=1).chosen(crops).all()
    with pytest.raises(ConfigError):
        Audit(0.01, share=1.5)
