"""The form of a shipped model is chosen by a table, by what was measured here, or by the caller."""

import importlib.util

import msgspec
import numpy as np
import pytest

from edge_fiqa.bundle.bundle import SHIPPED, SHIPPED_FORMS, Bundle
from edge_fiqa.engines import forms
from edge_fiqa.engines.forms import TunedForm, chosen_form, keep_tuned, open_form
from edge_fiqa.engines.processor import Processor
from edge_fiqa.errors import ConfigError
from edge_fiqa.scoring.scorer import Scorer

ZEN_3, ZEN_4 = ("avx2",), ("avx2", "avx512f", "avx512_vnni", "avx512_bf16")
AT_EXIT_1, DEEPER = 0.96, 0.99  # share of qualities within a point, docs/decisions/0044
GRACEMONT, A72, A76 = ("avx2", "avx_vnni"), (), ("asimddp",)


@pytest.fixture(autouse=True)
def own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def without(monkeypatch, library):
    here = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == library else here(name)
    )


@pytest.mark.parametrize(
    ("processor", "threads", "expected"),
    [
        (ZEN_4, 1, ("int8", "ov")),
        (ZEN_4, 2, ("int8", "ov")),
        (GRACEMONT, 4, ("int8", "ov")),
        (A76, 4, ("int8", "ov")),
        (ZEN_3, 1, ("int8", "ort")),
        (ZEN_3, 2, ("fp32", "ov")),
        (A72, 1, ("fp32", "ov")),
        (A72, 4, ("fp32", "ov")),
    ],
)
def test_the_table(processor, threads, expected):
    form = chosen_form("nano", threads=threads, instructions=processor)
    assert (form.precision, form.backend) == expected
    assert "measured" in form.why


def test_what_is_not_installed_is_not_chosen(monkeypatch):
    without(monkeypatch, "onnxruntime")
    form = chosen_form("nano", threads=1, instructions=ZEN_3)
    assert (form.precision, form.backend) == ("fp32", "ov")
    monkeypatch.undo()
    without(monkeypatch, "openvino")
    for processor in (ZEN_4, ZEN_3, A72):
        assert chosen_form("nano", threads=2, instructions=processor).backend == "ort"


def test_the_caller_overrules_the_table():
    form = chosen_form("nano", threads=2, precision="int8", backend="ov", instructions=A72)
    assert (form.precision, form.backend, form.why) == ("int8", "ov", "asked for")
    assert chosen_form("nano", precision="fp32", instructions=ZEN_4).precision == "fp32"
    assert chosen_form("nano", backend="ort", instructions=ZEN_4).backend == "ort"
    with pytest.raises(ConfigError, match="nano comes as int8, fp32, not bf16"):
        chosen_form("nano", precision="bf16")


def test_what_was_measured_here_goes_before_the_table():
    for form in (("fp32", "ort"), ("int8", "ort")):
        path = keep_tuned("nano", 3, TunedForm(*form, {}))
        chosen = chosen_form("nano", threads=3)
        assert (chosen.precision, chosen.backend) == form
        assert "doctor --tune" in chosen.why
    assert chosen_form("nano", precision="fp32", threads=3).precision == "fp32"
    assert "doctor --tune" not in chosen_form("nano", threads=2).why
    assert "doctor --tune" not in chosen_form("small", threads=3).why
    kept = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**kept, "processor": "another"}))
    assert "doctor --tune" not in chosen_form("nano", threads=3).why
    path.write_bytes(b"{")
    assert "doctor --tune" not in chosen_form("nano", threads=3).why


def test_a_folder_is_opened_as_it_is(bundle):
    assert open_form(bundle.folder).folder == bundle.folder
    assert open_form(SHIPPED["nano"]).manifest.precision == "int8"
    assert open_form(bundle) is bundle
    with pytest.raises(ConfigError, match="is fp32, not int8"):
        open_form(bundle.folder, precision="int8")


def test_where_openvino_computes_int8_wrongly_it_does_not_compute_it():
    """With SME its INT8 is off by a whole score (openvino#34673), FP32 is exact."""
    assert (
        chosen_form("nano", threads=2, instructions=("asimddp", "i8mm", "sme")).precision == "fp32"
    )


def test_a_scorer_takes_the_form_of_its_machine(monkeypatch):
    monkeypatch.setattr(forms, "this_processor", lambda: Processor("Zen 3", ZEN_3))
    for threads, expected in ((1, ("int8", "ort")), (2, ("fp32", "ov"))):
        with Scorer.open("nano", threads=threads) as scorer:
            assert (scorer.bundle.manifest.precision, scorer.engine.backend) == expected
    with Scorer.open("nano", threads=2, precision="int8", backend="ov") as scorer:
        assert (scorer.bundle.manifest.precision, scorer.engine.backend) == ("int8", "ov")


@pytest.mark.parametrize("model", SHIPPED)
def test_all_forms_are_one_model_on_one_scale(model):
    bundles = [Bundle.open(folder) for folder in SHIPPED_FORMS[model].values()]
    assert len({bundle.manifest.fingerprint for bundle in bundles}) == 1
    assert len({bundle.manifest.name for bundle in bundles}) == 1
    assert len({bundle.calibration.id for bundle in bundles}) == 1
    assert len({bundle.manifest.exits for bundle in bundles}) == 1
    for bundle in bundles:
        assert len(bundle.manifest.golden) == 2
        first, *deeper = (row.within_a_point for row in bundle.manifest.parity.exits)
        assert first > AT_EXIT_1  # of INT8: one block has rounded, and nothing is averaged yet
        assert min(deeper) > DEEPER


@pytest.mark.parametrize("model", SHIPPED)
def test_another_processor_decides_alike(model, shared):
    """Each form and engine that the table can choose, over faces that were never calibrated on."""
    from edge_fiqa.faces.images import decode

    paths = sorted((shared / "data/faces/lfw").rglob("*.jpg"))[::150]
    if len(paths) < 20:
        pytest.skip("no faces in the shared data")
    faces = np.stack([decode(path) for path in paths])
    qualities = []
    for precision, backend in (("int8", "ov"), ("int8", "ort"), ("fp32", "ov")):
        with Scorer.open(model, precision=precision, backend=backend, threads=1) as scorer:
            qualities.append([record.quality.scalar for record in scorer.score(faces)])
    differences = np.ptp(np.array(qualities), axis=0)
    assert (differences <= 1).mean() >= 0.99
    assert differences.max() <= 2
