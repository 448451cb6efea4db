"""The gate in service: audits beside early exits, full depth after an alarm, recalibration."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_fiqa import Budget, Convergence, Deadline, Fixed, GateService, Scorer
from edge_fiqa.calibration.audit import Audit
from edge_fiqa.calibration.fit import fit_calibration
from edge_fiqa.calibration.monitor import measure_reference
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.measurement.all_exits import synthetic_faces


def trails(faces, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    wander = rng.normal(size=(faces, 4)) * [1.0, 0.5, 0.3, 0.2] * noise
    return (rng.normal(size=(faces, 1)) + wander).astype(np.float32)


def service_for(bundle, found, share):
    """A service whose engine returns these trails, calibrated on tame ones."""
    calibration = fit_calibration(
        trails(3000),
        [str(row) for row in range(3000)],
        model="m",
        fingerprint=bundle.manifest.fingerprint,
        exits=(1, 2, 3, 4),
        images="numbers",
        risks=[0.02],
    )
    engine = FakeEngine(found)
    scorer = Scorer(bundle, engine, gate=60, calibration=calibration)
    faces = [FaceCrop(f"{i}#0", str(i), face) for i, face in enumerate(engine.faces)]
    return GateService(scorer, audit=Audit(0.02, share, alarm=1000)), faces


def test_audited_faces_run_deep_and_the_others_stop(bundle):
    service, faces = service_for(bundle, trails(300), share=0.3)
    refused = RefusedFace("x#0", "x", "unreadable", "damaged")
    records = service.score([refused, *faces])
    assert [r.id for r in records] == ["x#0", *(f.id for f in faces)]
    reasons = [r.exit.reason for r in records[1:]]
    assert set(reasons) == {"audit", "gate", "full"}
    assert all(r.exit.depth == 4 for r in records if r.exit.reason == "audit")
    assert service.audit.faces == reasons.count("audit")
    assert 0.2 < service.audit.faces / 300 < 0.4
    assert {(r.decision.risk, r.decision.confidence) for r in records[1:]} == {(0.02, 0.95)}
    assert {r.decision.gate for r in records} == {60}


def test_a_budget_beside_the_gate_leaves_no_audit_and_no_promise(bundle):
    service, faces = service_for(bundle, trails(100), share=1.0)
    records = service.score(faces, [Fixed(2)])
    assert {r.exit.depth for r in records} == {2}
    assert service.audit.faces == 0
    assert {r.decision.risk for r in records} == {None}


@pytest.mark.parametrize("other", [Fixed(2), Deadline(1e9), Convergence()])
def test_the_promise_is_not_made_of_faces_that_another_policy_leaves(bundle, other):
    """Of all faces 2 % may flip; of those alone that the gate stopped it may be more."""
    service, faces = service_for(bundle, trails(300), share=0.1)
    records = service.score(faces, [other])
    assert "gate" in {r.exit.reason for r in records}
    assert {r.decision.gate for r in records} == {60}
    assert {r.decision.risk for r in records} == {None}


def test_a_budget_that_allows_full_depth_leaves_the_promise(bundle):
    service, faces = service_for(bundle, trails(300), share=0.1)
    records = service.score(faces, [Budget(gflops=1e9)])
    of_gate = [r for r in records if r.exit.reason in ("gate", "audit")]
    assert len(of_gate) > 200
    assert {r.decision.risk for r in of_gate} == {0.02}


class RestartsWhileScoring:
    """A scorer during whose work another thread recalibrates the audit that it shares."""

    def __init__(self, scorer, audit):
        self.scorer, self.audit = scorer, audit

    def check_open(self):
        self.scorer.check_open()

    def score_on(self, scale, faces, policies):
        self.audit.restart(0.02)
        return self.scorer.score_on(scale, faces, policies)


def test_a_recalibration_by_another_thread_does_not_disturb(bundle):
    service, faces = service_for(bundle, trails(5), share=0.0)
    service.audit.suspended = "early exits suspended"
    service.scorer = RestartsWhileScoring(service.scorer, service.audit)
    assert {r.warnings[-1] for r in service.score(faces)} == {"early exits suspended"}


class GoesOnWhileScoring:
    """A scorer during whose work another thread makes the service go on with another calibration."""

    def __init__(self, scorer, then):
        self.scorer, self.then = scorer, then
        self.calibration, self.check_open = scorer.calibration, scorer.check_open

    def score_on(self, scale, faces, policies):
        self.then()
        return self.scorer.score_on(scale, faces, policies)


def test_decisions_of_a_gate_before_do_not_count_in_the_audit_of_the_next(bundle):
    service, faces = service_for(bundle, trails(40), share=1.0)
    scorer, another = service.scorer, service_for(bundle, trails(40), share=1.0)[0].scorer

    def go_on():
        service.scorer = scorer
        service.use(another.calibration)
        service.audit.restart(0.02)

    service.scorer = GoesOnWhileScoring(scorer, go_on)
    old = service.gate
    assert len(service.score(faces)) == len(faces)
    assert service.gate is not old
    assert service.audit.faces == 0
    service.score(faces)
    assert service.audit.faces == len(faces)


def test_qualities_of_a_calibration_before_do_not_count_in_the_monitor_of_the_next(bundle):
    calibration = service_for(bundle, trails(4), share=0.0)[0].scorer.calibration
    reference = measure_reference(synthetic_faces(20, seed=1), [50] * 20)
    first, second = (msgspec.structs.replace(calibration, reference=reference) for _ in range(2))
    scorers = []
    engine = FakeEngine(trails(4), on_run=lambda *_: scorers.pop().use(second) if scorers else None)
    scorer = Scorer(bundle, engine, calibration=first)
    scorers.append(scorer)
    scorer.score(list(engine.faces))
    assert scorer.calibration is second
    assert scorer.monitor.faces == 0
    scorer.score(list(engine.faces))
    assert scorer.monitor.faces == len(engine.faces)


def test_drift_ends_early_exits_until_recalibrated(bundle):
    """Early scores lose their meaning (a fogged lens): noise grows threefold at every early exit."""
    drifted = trails(3000, seed=9, noise=3.0)
    service, faces = service_for(bundle, drifted, share=0.2)
    assert service.gate.replay(drifted).flipped.mean() > 0.05
    for start in range(0, 3000, 50):
        service.score(faces[start : start + 50])
        if service.audit.suspended:
            break
    assert service.audit.suspended
    assert start < 2000
    late = service.score(faces[2000:])
    assert {r.exit.depth for r in late} == {4}
    assert all("early exits suspended" in r.warnings[-1] for r in late)
    assert {r.decision.risk for r in late} == {None}
    before = service.gate.estimator.scale
    found = service.recalibrate()
    assert found.faces >= 1000
    assert service.gate.estimator.scale == before  # 73 still means what it meant
    assert service.audit.suspended is None
    assert service.gate.replay(trails(20_000, seed=10, noise=3.0)).flipped.mean() <= 0.02
    again = service.score(faces[:500])
    assert not any("suspended" in warning for r in again for warning in r.warnings)
    assert again[0].quality.calibration == f"sigmoid:{found.id}"
    assert min(r.exit.depth for r in again) < 4


def test_too_few_audited_faces_cannot_recalibrate(bundle):
    service, faces = service_for(bundle, trails(50), share=1.0)
    service.score(faces)
    with pytest.raises(ConfigError, match="at least 100 faces, found 50"):
        service.recalibrate()


def test_frames_of_one_person_do_not_pass_for_many(bundle):
    """A thousand faces of 25 tracks: enough faces for 2 %, too few persons."""
    service, faces = service_for(bundle, trails(1000), share=1.0)
    service.audit.suspended = "early exits suspended"
    before = service.scorer.calibration
    tracks = [replace(face, person=f"door/{n // 40}") for n, face in enumerate(faces)]
    service.score(tracks)
    with pytest.raises(ConfigError, match="of 25 persons or sources are too few to promise"):
        service.recalibrate()
    assert service.scorer.calibration is before
    assert service.audit.suspended
    service.score([replace(face, source="door") for face in faces])
    # the same frames as of one camera, whose persons are not known
    assert len(service.audit.trails[1]) == 130
    assert len(set(service.audit.trails[1])) == 26


def test_no_gate_no_service(bundle):
    with pytest.raises(ConfigError, match="needs a gate"):
        GateService(Scorer(bundle, FakeEngine(trails(3))))
