"""Every form on every backend takes its turn."""

from edge_fiqa.bundle.bundle import SHIPPED_FORMS
from edge_fiqa.measurement import tuning
from edge_fiqa.measurement.tuning import fastest_form


def test_every_form_is_measured_on_every_backend(bundle, monkeypatch):
    monkeypatch.setitem(SHIPPED_FORMS, "nano", {"int8": bundle.folder, "fp32": bundle.folder})
    form = fastest_form("nano", 1, rounds=1)
    assert set(form.ms) == {"int8 ov", "int8 ort", "fp32 ov", "fp32 ort"}
    assert form.ms[f"{form.precision} {form.backend}"] == min(form.ms.values()) > 0


def test_the_fastest_is_taken(bundle, monkeypatch):
    monkeypatch.setitem(SHIPPED_FORMS, "nano", {"int8": bundle.folder})
    monkeypatch.setattr(
        tuning, "_full_depth_ms", lambda engine: {"ov": 3.0, "ort": 2.0}[engine.backend]
    )
    assert (fastest_form("nano", 1).backend, fastest_form("nano", 1).ms["int8 ov"]) == ("ort", 3.0)


def test_what_is_not_installed_takes_no_turn(bundle, monkeypatch):
    monkeypatch.setitem(SHIPPED_FORMS, "nano", {"int8": bundle.folder})
    monkeypatch.setattr(tuning, "is_installed", lambda backend: backend == "ort")
    assert set(fastest_form("nano", 1, rounds=1).ms) == {"int8 ort"}
