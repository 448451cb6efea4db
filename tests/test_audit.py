"""Audits: silent while the promise is kept, loud soon after it is not."""

import numpy as np
import pytest

from edge_fiqa.audit import Audit
from edge_fiqa.errors import ConfigError
from edge_fiqa.measure import synthetic_faces

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
    assert audit.trails.size == 0
    for number in range(7):
        audit.see(TRAIL + number, False)
    assert audit.trails.shape == (7, 4)
    audit.restart(0.02)
    assert (audit.suspended, audit.faces, audit.risk) == (None, 0, 0.02)
    assert audit.trails.size == 0


def test_memory_is_bounded():
    audit = Audit(0.01)
    for _ in range(6000):
        audit.see(TRAIL, False)
    assert len(audit.trails) == 5000


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
