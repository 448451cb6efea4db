"""Plans for TensorRT for RTX: built without a device, used where they fit, compiled once."""

import json
import threading
from importlib import import_module

import msgspec
import numpy as np
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import save_manifest
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.trt.graph_form import AS_WRITTEN, FUSED
from edge_fiqa.errors import BundleError, ConfigError, EngineFailed
from edge_fiqa.files import sha256
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.types import Segment
from tests.engines.conftest import with_options


def add_plans(bundle, target, *capabilities):
    """By the modules that were imported over the fakes."""
    api = import_module("edge_fiqa.engines.trt.api").rtx_api()
    module = import_module("edge_fiqa.engines.trt.portable_plans")
    return module.add_plans(bundle, target, api, capabilities, threading.Event())


def kernel_files(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("kernels-*"))


def test_they_are_built_without_a_device_and_used_as_they_are(
    rtx_card, bundle, faces, reference, tmp_path
):
    rtx_card(devices=0)
    with_plans = add_plans(bundle, tmp_path / "copy", "8.6", "12.0")
    assert len(list(with_plans.folder.glob("*.plan"))) == len(bundle.segments)
    assert {"rtx.json", "body-01-01.plan"} <= with_plans.manifest.files.keys()
    assert not list(bundle.folder.glob("*.plan"))
    world = rtx_card()
    with open_engine(with_plans, "rtx") as engine:
        assert engine.backend == "rtx"
        for count in (1, 3, 6):
            np.testing.assert_allclose(
                all_exits(engine, faces[:count]), reference[:count], atol=1e-5
            )
    assert "build" not in world.events
    assert kernel_files(tmp_path) == ["kernels-8.6.bin"]
    with open_engine(with_plans, "ort") as engine:  # other engines do not mind
        np.testing.assert_allclose(all_exits(engine, faces), reference, atol=1e-5)


def test_kernels_are_compiled_when_prepared_and_once(rtx_card, bundle, tmp_path, faces):
    rtx_card()
    with_plans = add_plans(bundle, tmp_path / "copy", "8.6")
    world = rtx_card()
    segment = Segment(1, 1)
    with open_engine(with_plans, "rtx") as engine:
        engine.prepare([segment], [1])
        assert world.events == ["compile"]
        engine.run(segment, faces[:1])
        assert world.events.count("compile") == 1
    world = rtx_card()
    with open_engine(with_plans, "rtx") as engine:
        engine.run(segment, faces[:1])
    assert "compile" not in world.events
    world = rtx_card(cuda=13000)  # another driver: the library refuses the file
    with open_engine(with_plans, "rtx") as engine:
        engine.run(segment, faces[:1])
    assert world.events.count("compile") == 1


def test_where_they_do_not_fit_plans_are_built_there(
    rtx_card, bundle, faces, reference, tmp_path, caplog
):
    rtx_card()
    with_plans = add_plans(bundle, tmp_path / "copy", "8.6")
    world = rtx_card(sm=(8, 9))
    with open_engine(with_plans, "rtx") as engine:
        np.testing.assert_allclose(all_exits(engine, faces[:1]), reference[:1], atol=1e-5)
    assert world.events.count("build") == 4
    assert "are for compute capability 8.6, this is 8.9; plans are built here" in caplog.text


def described(bundle):
    return json.loads((bundle.folder / "rtx.json").read_text())


def describe_anew(bundle, changes):
    """The bundle, whose plans say something else of themselves; None removes what they say."""
    text = {k: v for k, v in (described(bundle) | changes).items() if v is not None}
    (bundle.folder / "rtx.json").write_text(json.dumps(text))
    files = bundle.manifest.files | {"rtx.json": sha256(bundle.folder / "rtx.json")}
    save_manifest(msgspec.structs.replace(bundle.manifest, files=files), bundle.folder)
    return Bundle.open(bundle.folder)


@pytest.mark.parametrize("form", [FUSED, AS_WRITTEN])
def test_they_state_their_form(rtx_card, bundle, tmp_path, monkeypatch, form):
    rtx_card()
    module = import_module("edge_fiqa.engines.trt.portable_plans")
    monkeypatch.setattr(module, "form_here", lambda: form)
    stated = described(add_plans(bundle, tmp_path / "copy", "8.6"))
    assert (stated["form"], stated["precision"], stated["attention"]) == (form, "fp32", "fp32")


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"form": None}, "do not state the form of their graphs; run edge-fiqa plans again"),
        ({"form": AS_WRITTEN}, "are built as written, with attention in fp32"),
    ],
)
def test_plans_of_another_form_are_used_with_a_warning(
    rtx_card, bundle, faces, tmp_path, caplog, changes, warning
):
    rtx_card()
    other = describe_anew(add_plans(bundle, tmp_path / "copy", "8.6"), changes)
    world = rtx_card()
    with open_engine(other, "rtx") as engine:
        engine.run(Segment(1, 1), faces[:1])
    assert warning in caplog.text
    assert "build" not in world.events


def test_plans_of_another_precision_are_not_used(rtx_card, bundle, faces, tmp_path, caplog):
    rtx_card()
    other = describe_anew(add_plans(bundle, tmp_path / "copy", "8.6"), {"precision": "int8"})
    world = rtx_card()
    with open_engine(other, "rtx") as engine:
        engine.run(Segment(1, 1), faces[:1])
    assert "plans are in int8, its segments in fp32; plans are built here" in caplog.text
    assert world.events.count("build") == 1


def test_plans_built_here_do_not_belong_to_one_device(rtx_card, bundle, faces, tmp_path):
    world = rtx_card()
    with open_engine(bundle, "rtx") as engine:
        engine.run(Segment(1, 1), faces[:1])
    assert world.events.count("build") == 1
    assert [p.parent.parent.parent.name for p in (tmp_path / "cache").rglob("*.plan")] == [
        "tensorrt-rtx"
    ]
    world = rtx_card(cuda=13000)
    with open_engine(bundle, "rtx") as engine:
        engine.run(Segment(1, 1), faces[:1])
    assert "build" not in world.events


def test_options_that_this_library_lacks_are_left_out(rtx_card, bundle, faces, tmp_path):
    rtx_card()
    options = {"version_compatible": True, "lean_library": "/none"}
    with open_engine(with_options(bundle, tmp_path, **options), "rtx") as engine:
        engine.run(Segment(1, 1), faces[:1])


def test_a_card_that_it_does_not_build_for_is_named(rtx_card, bundle, faces):
    rtx_card(sm=(9, 0))
    with (
        open_engine(bundle, "rtx") as engine,
        pytest.raises(ConfigError, match=r"builds for compute capability .*, not for '9\.0'"),
    ):
        engine.run(Segment(1, 1), faces[:1])


def test_a_bundle_gets_other_plans_in_its_place(rtx_card, bundle, tmp_path):
    rtx_card()
    first = add_plans(bundle, tmp_path / "copy", "8.6")
    second = add_plans(first, first.folder, "8.9")
    assert second.folder == first.folder
    plans = import_module("edge_fiqa.engines.trt.portable_plans").portable_plans(second)
    assert plans.capabilities == ("8.9",)
    assert plans.options.dynamic
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_nothing_changes_where_a_plan_cannot_be_built(rtx_card, bundle, tmp_path):
    rtx_card()
    first = add_plans(bundle, tmp_path / "copy", "8.6")
    before = first.manifest.files
    with pytest.raises(ConfigError, match=r"not for '5\.0'"):
        add_plans(first, first.folder, "8.6", "5.0")
    world = rtx_card()
    world.on_step = lambda phase, step: 1 / 0
    with pytest.raises((EngineFailed, ZeroDivisionError)):
        add_plans(first, first.folder, "8.6")
    world.complaints.clear()
    assert Bundle.open(first.folder).manifest.files == before
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_plan_that_was_changed_is_not_used(rtx_card, bundle, faces, tmp_path):
    rtx_card()
    with_plans = add_plans(bundle, tmp_path / "copy", "8.6")
    with open_engine(with_plans, "rtx") as engine:
        (with_plans.folder / "body-01-01.plan").write_bytes(b"another")
        with pytest.raises(BundleError, match=r"body-01-01\.plan is damaged or was changed"):
            engine.run(Segment(1, 1), faces[:1])
