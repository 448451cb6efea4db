"""The front door: faces in, records out."""

import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_fiqa import Budget, Fixed, Scorer
from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.engines.processor import this_processor
from edge_fiqa.errors import BundleError, ConfigError
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.measurement.segment_costs import measured_costs
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.types import Segment


@pytest.fixture(scope="module")
def scorer(bundle):
    with Scorer.open(bundle, backend="ov", threads=1, gate=50) as opened:
        yield opened


def crop(face, name="a"):
    return FaceCrop(f"{name}#0", name, face)


def test_a_record_says_what_happened(scorer, faces):
    record = scorer.score_face(faces[0], [Fixed(3)])
    assert record.quality.code == "ok"
    assert record.quality.calibration == f"sigmoid:{scorer.calibration.id}"
    low, high = record.quality.interval
    assert 0 <= low <= record.quality.scalar <= high <= 100
    assert record.quality.algorithm.fingerprint == scorer.bundle.manifest.fingerprint
    assert (record.exit.depth, record.exit.reason, record.exit.fusion) == (3, "fixed", "FW")
    expected = all_exits(scorer.engine, faces[:1])[0]
    np.testing.assert_allclose(record.exit.scores[:3], expected[:3], atol=1e-5)
    assert record.exit.scores[3] is None
    assert record.quality.raw == pytest.approx((expected[:3] @ [1, 2, 3]) / 6, abs=1e-5)
    assert record.cost.ms > 0
    assert record.cost.gflops > 0
    assert record.cost.mj is None
    assert record.decision.gate == 50
    assert record.decision.accepted == (record.quality.scalar >= 50)


def test_refused_faces_keep_their_place(scorer, faces):
    found = [
        RefusedFace("a#0", "a", "too_small", "eyes 3 pixels apart", (1, 2, 3, 4)),
        crop(faces[0]),
        RefusedFace("b#0", "b", "unreadable", "damaged"),
    ]
    records = scorer.score(found)
    assert [r.quality.code for r in records] == ["too_small", "ok", "unreadable"]
    assert [r.quality.scalar is None for r in records] == [True, False, True]
    assert records[0].box == (1, 2, 3, 4)
    assert records[0].warnings == ("eyes 3 pixels apart",)
    assert records[0].decision.accepted is False
    assert scorer.score([]) == []


def test_a_score_that_is_no_number_is_a_failure(bundle):
    engine = FakeEngine([[1, np.nan, 2, 3], [1, 2, 3, 4]])
    scorer = Scorer(bundle, engine)
    broken, fine = scorer.score([crop(face) for face in engine.faces])
    assert (broken.quality.code, broken.quality.scalar, broken.quality.raw) == (
        "not_finite",
        None,
        None,
    )
    assert broken.exit.scores == (1, None, None, None)
    assert fine.quality.code == "ok"


def test_no_scale_no_scalar(bundle, faces):
    with Scorer.open(bundle, backend="ov", threads=1, fusion=(1, 1, 1, 1)) as scorer:
        record = scorer.score_face(faces[0])
    assert record.quality.scalar is None
    assert record.quality.raw is not None
    assert record.exit.fusion == "1,1,1,1"
    with pytest.raises(ConfigError, match="gate needs a 0-100 scale"):
        Scorer.open(bundle, backend="ov", fusion=(1, 1, 1, 1), gate=40)


@pytest.mark.parametrize("gate", [-1, 101])
def test_impossible_gates(bundle, gate):
    with pytest.raises(ConfigError, match="0 to 100"):
        Scorer.open(bundle, backend="ov", gate=gate)


def test_policies_in_ms_measure_an_engine_that_the_bundle_does_not_know(bundle, faces):
    with Scorer.open(bundle, backend="ov", threads=1) as scorer:
        foreign = scorer.controller.costs
        scorer.prepare([Budget(ms=1000)])
        assert scorer.controller.costs is not foreign
        assert scorer.controller.load.value == 1.0
        assert scorer.score_face(faces[0], [Budget(ms=1000)]).exit.depth == 4
        assert scorer.score_face(faces[0], [Budget(ms=1e-6)]).exit.depth == 1


@pytest.mark.parametrize("backend", ["ov", "ort"])
def test_a_cost_table_of_another_processor_is_never_taken_for_this_ones(
    bundle, backend, monkeypatch
):
    with open_engine(bundle, backend, threads=1) as engine:
        costs = measured_costs(engine)
    measured = Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, costs=costs))
    with Scorer.open(measured, backend=backend, threads=1) as scorer:
        before = scorer.controller.costs
        scorer.prepare([Budget(ms=1000)])
        assert scorer.controller.costs is before
    here = this_processor()
    strongest = "avx2" if "avx512_vnni" in here.instructions else "avx512_vnni"
    other = replace(here, instructions=(strongest,))
    monkeypatch.setattr(f"edge_fiqa.engines.{backend}.this_processor", lambda: other)
    with Scorer.open(measured, backend=backend, threads=1) as scorer:
        before = scorer.controller.costs
        scorer.prepare([Budget(ms=1000)])
        assert scorer.controller.costs is not before


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_there_and_know_faces_from_noise(name):
    from edge_fiqa.cli.demo import portrait
    from edge_fiqa.cli.effects import defocus

    face, rng = portrait(), np.random.default_rng(0)
    with Scorer.open(name, threads=1) as scorer:
        clean, blurred, noise = (
            scorer.score_face(image).quality.scalar
            for image in (face, defocus(face, 0.8), rng.integers(0, 256, face.shape, np.uint8))
        )
    assert clean > 60
    assert blurred < 20
    assert noise < 20
    assert sum(p.stat().st_size for p in SHIPPED[name].iterdir()) < 6e6


def test_opening_what_is_not_there(tmp_path):
    with pytest.raises(BundleError):
        Scorer.open(tmp_path)


def test_a_portable_bundle_falls_back_to_the_engine_that_is_installed(bundle, monkeypatch):
    import importlib.util

    def found(name):
        return None if name == "openvino" else object()

    manifest = type("M", (), {"backend": "ov", "precision": "int8"})
    portable = type("B", (), {"backend": "ov", "manifest": manifest})
    assert available_backend(portable) == "ov"
    monkeypatch.setattr(importlib.util, "find_spec", found)
    assert available_backend(portable) == "ort"
    assert available_backend(bundle) == "pt"


def with_energy(bundle, **changes):
    """The bundle in memory, as if a meter had found 2 mJ per block."""
    costs = bundle.manifest.costs
    rows = tuple(
        msgspec.structs.replace(row, mj=2.0 * (row.last - row.first + 1)) for row in costs.segments
    )
    costs = msgspec.structs.replace(costs, segments=rows, **changes)
    return Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, costs=costs))


def test_energy_is_budgeted_and_recorded_where_it_was_measured_here(bundle, faces):
    backend, threads = bundle.manifest.backend, bundle.manifest.costs.threads
    with Scorer.open(with_energy(bundle), backend=backend, threads=threads) as scorer:
        record = scorer.score_face(faces[0], [Budget(mj=6.5)])
        assert (record.exit.depth, record.cost.mj) == (3, 6.0)
    elsewhere = with_energy(bundle, device="another board")
    with Scorer.open(elsewhere, backend=backend, threads=threads) as scorer:
        assert scorer.score_face(faces[0]).cost.mj is None
        with pytest.raises(ConfigError, match="measured on this device"):
            scorer.score_face(faces[0], [Budget(mj=6.5)])


def test_a_cost_table_with_energy_survives_the_manifest(bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    Bundle.open(copy).with_costs(with_energy(bundle).manifest.costs)
    again = Bundle.open(copy)
    assert again.costs.mj_of([Segment(1, 2, tail=True)]) == 4.0
    assert b'"mj"' not in (bundle.folder / "manifest.json").read_bytes()
