"""Building: whole or not at all, with parity and costs measured."""

import dataclasses

import msgspec
import numpy as np
import pytest

from edge_fiqa.build import builder as build
from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import MANIFEST
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines.ort import OnnxRuntime
from edge_fiqa.errors import CheckpointError, ConfigError
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.model.weights import load_weights
from edge_fiqa.types import FaceSet
from tests.causes import NAMES, write


def test_parity_and_costs_are_measured(bundle, face_set):
    manifest = bundle.manifest
    assert [row.exit for row in manifest.parity.exits] == [1, 2, 3, 4]
    assert manifest.parity.faces == len(face_set.crops)
    assert all(row.agreement == 1 and row.within_a_point == 1 for row in manifest.parity.exits)
    assert all(row.max_abs_difference < 1e-4 for row in manifest.parity.exits)
    assert all(row.spearman > 0.99 for row in manifest.parity.exits)
    assert len(manifest.costs.segments) == 11
    assert all(row.ms > 0 for row in manifest.costs.segments)
    assert np.array(manifest.golden).shape == (2, 4)


def test_a_calibration_only_from_enough_real_faces(bundle, checkpoint, face_set, tmp_path):
    recipe = BuildRecipe(backend="ort")
    assert build_bundle(checkpoint, tmp_path / "without", recipe).calibration is None
    few = FaceSet(face_set.crops[:20], face_set.groups[:20], "few")
    assert build_bundle(checkpoint, tmp_path / "few", recipe, faces=few).calibration is None
    found = bundle.calibration
    assert set(found.rules) == {"FW", "F", "last", "max", "median"}
    assert (found.fingerprint, found.exits) == (bundle.manifest.fingerprint, (1, 2, 3, 4))
    assert found.images == "synthetic persons"


def test_a_precision_that_loses_too_much_is_refused(checkpoint, face_set, tmp_path):
    strict = BuildRecipe(backend="ort", precision="int8", least_spearman=0.99999)
    with pytest.raises(ConfigError, match=r"int8 loses too much: exit \d has a rank correlation"):
        build_bundle(checkpoint, tmp_path / "b", strict, faces=face_set)
    assert list(tmp_path.iterdir()) == []
    told = msgspec.structs.replace(strict, accept_imprecise=True)
    rows = build_bundle(checkpoint, tmp_path / "b", told, faces=face_set).manifest.parity.exits
    assert min(row.spearman for row in rows) < 0.99999


def test_segments_of_two_blocks(checkpoint, tmp_path):
    bundle = build_bundle(checkpoint, tmp_path / "b", BuildRecipe(backend="ort", segments="2,4"))
    assert bundle.manifest.exits == (2, 4)
    assert sorted(s.name for s in bundle.segments) == [
        "body-01-02",
        "body-03-04",
        "tail-01-02",
        "tail-01-04",
        "tail-03-04",
    ]


def test_an_existing_bundle_is_replaced_only_by_force(checkpoint, tmp_path):
    target, recipe = tmp_path / "b", BuildRecipe(backend="ort")
    build_bundle(checkpoint, target, recipe, name="old")
    with pytest.raises(ConfigError, match="--force"):
        build_bundle(checkpoint, target, recipe)
    assert build_bundle(checkpoint, target, recipe, name="new", force=True).manifest.name == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_failure_on_the_way_leaves_everything_as_it_was(checkpoint, tmp_path, monkeypatch):
    target, recipe = tmp_path / "b", BuildRecipe(backend="ort")
    build_bundle(checkpoint, target, recipe, name="old")

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "measured_costs", fail)
    with pytest.raises(KeyboardInterrupt):
        build_bundle(checkpoint, target, recipe, name="new", force=True)
    with pytest.raises(KeyboardInterrupt):
        build_bundle(checkpoint, tmp_path / "other", recipe)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert Bundle.open(target).manifest.name == "old"


def test_what_cannot_be_built(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="--calibration-images"):
        build_bundle(checkpoint, tmp_path / "b", BuildRecipe(precision="int8"))
    with pytest.raises(CheckpointError):
        build_bundle(tmp_path / "absent.pt", tmp_path / "b", BuildRecipe())
    with pytest.raises(ConfigError, match="3 segments do not divide 4 blocks"):
        build_bundle(checkpoint, tmp_path / "b", BuildRecipe(segments="3"))
    assert list(tmp_path.iterdir()) == []


def test_the_same_checkpoint_gives_the_same_files(checkpoint, tmp_path):
    recipe = BuildRecipe(backend="ort", precision="int8")
    faces = FaceSet(synthetic_faces(3), ("a", "b", "c"), "noise")
    one, two = (build_bundle(checkpoint, tmp_path / n, recipe, faces=faces) for n in "ab")
    assert one.manifest.files == two.manifest.files


def test_int8_is_defined_by_its_graph_and_measured_against_it(checkpoint, tmp_path):
    recipe = BuildRecipe(backend="ov", precision="int8", segments="2,4", accept_imprecise=True)
    faces = FaceSet(synthetic_faces(3), ("a", "b", "c"), "noise")
    built = build_bundle(checkpoint, tmp_path / "b", recipe, faces=faces)
    with OnnxRuntime(built, optimised=False) as engine:
        written = all_exits(engine, synthetic_faces(2))
    np.testing.assert_allclose(np.array(built.manifest.golden), written, atol=1e-6)
    assert all(row.max_to_graph < 0.05 for row in built.manifest.parity.exits)
    plain = build_bundle(checkpoint, tmp_path / "plain", BuildRecipe(backend="ort"))
    assert all(row.max_to_graph is None for row in plain.manifest.parity.exits)


def test_forms_of_a_model_share_a_calibration(bundle, checkpoint, tmp_path):
    recipe = BuildRecipe(backend="ort", half_weights=True)
    half = build_bundle(checkpoint, tmp_path / "b", recipe, calibration=bundle.calibration)
    assert half.calibration.id == bundle.calibration.id
    assert (half.folder / "weights.bin").stat().st_size < (
        0.75 * (bundle.folder / "weights.bin").stat().st_size
    )


@pytest.mark.parametrize("backend", ["ov", "pt"])
def test_heads_of_causes_go_along_and_the_manifest_names_them(
    backend, tiny_causes, cause_checkpoint, tmp_path
):
    built = build_bundle(cause_checkpoint, tmp_path / "b", BuildRecipe(backend=backend))
    assert built.manifest.causes == NAMES
    assert built.manifest.fingerprint == tiny_causes.fingerprint
    if backend == "pt":
        kept = load_weights(built.float_weights()).causes
        assert kept.names == NAMES
        for name, array in tiny_causes.causes.arrays.items():
            np.testing.assert_array_equal(kept.arrays[name], array)


def test_how_often_heads_are_right_is_said_of_the_exits_that_a_bundle_has(tiny_causes, tmp_path):
    heads = dataclasses.replace(tiny_causes.causes, right=(0.1, 0.2, 0.3, 0.4))
    checkpoint = write(dataclasses.replace(tiny_causes, causes=heads), tmp_path / "c.safetensors")
    recipe = BuildRecipe(backend="pt", segments="2,4")
    built = build_bundle(checkpoint, tmp_path / "b", recipe)
    assert built.manifest.cause_right == (0.2, 0.4)
    assert load_weights(built.float_weights()).causes.right == heads.right


def test_without_heads_the_manifest_has_no_word_of_causes(bundle):
    assert bundle.manifest.causes == ()
    assert b"causes" not in (bundle.folder / MANIFEST).read_bytes()
