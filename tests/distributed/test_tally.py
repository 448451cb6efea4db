"""What a run did: counts added up, and drift judged over the faces of all workers."""

import numpy as np

from edge_fiqa.calibration.monitor import Monitor
from edge_fiqa.distributed.shard_scorer import ShardDone
from edge_fiqa.distributed.tally import RunTally
from edge_fiqa.measurement.all_exits import synthetic_faces


def test_counts_are_added_up():
    tally = RunTally()
    tally.add(ShardDone(name="a", pictures=2, faces={"ok": 2, "no_face": 1}))
    tally.add(ShardDone(name="b", pictures=1, faces={"ok": 1, "unreadable": 1}))
    assert (tally.shards, tally.pictures, tally.faces["ok"], tally.failed) == (2, 3, 3, 2)
    assert tally.codes() == {"no_face": 1, "unreadable": 1}


def test_drift_is_that_of_all_faces_together(bundle):
    """Neither worker has seen enough faces to say so. Each tells its counts again with every shard."""
    reference = bundle.calibration.reference
    faces = synthetic_faces(120, seed=3)[..., ::-1] // 4  # dark, and the wrong order of colours
    workers, tally, whole = [Monitor(reference), Monitor(reference)], RunTally(), Monitor(reference)
    for number, face in enumerate(faces):
        worker = workers[number % 2]
        worker.see(np.ascontiguousarray(face), 50)
        whole.see(np.ascontiguousarray(face), 50)
        tally.add(ShardDone(name="a", worker=f"host:{number % 2}", drift=worker.counts()))
    assert [worker.findings() for worker in workers] == [[], []]
    found = tally.findings(bundle.calibration)
    assert [finding.code for finding in found] == [finding.code for finding in whole.findings()]
    assert found
    assert tally.findings(None) == []


def test_an_alarm_is_said_once():
    tally = RunTally()
    for name in "ab":
        tally.add(ShardDone(name=name, suspended="early exits suspended"))
    assert tally.suspended == ["early exits suspended"]
