"""Bundles: opened whole or refused with one clear line."""

import json
from pathlib import Path

import msgspec
import pytest

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.bundle.manifest import MANIFEST, WEIGHTS
from edge_fiqa.config import BuildRecipe
from edge_fiqa.errors import BundleError
from edge_fiqa.files import sha256
from edge_fiqa.types import Segment
from tests.bundle.conftest import edit, refused


def test_what_was_written_is_read(bundle, tiny):
    manifest = bundle.manifest
    assert manifest.fingerprint == tiny.fingerprint
    assert bundle.config == tiny.config
    assert manifest.exits == (1, 2, 3, 4)
    assert set(bundle.segments) == {
        *(Segment(k, k, tail) for k in range(1, 5) for tail in (False, True)),
        *(Segment(1, k, True) for k in range(1, 5)),
    }
    assert all(bundle.file_of(segment).is_file() for segment in bundle.segments)
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=type(manifest)) == manifest


@pytest.mark.parametrize("name", [WEIGHTS, "tail-02-02.onnx", "model.safetensors"])
def test_one_flipped_bit_is_noticed(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    message = refused(copy)
    assert name in message
    assert "damaged or was changed" in message


def test_a_missing_file_is_named(copy):
    (copy / "body-03-03.onnx").unlink()
    assert "body-03-03.onnx is missing" in refused(copy)


def test_a_segment_without_a_hash_is_refused(copy):
    files = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))["files"]
    del files["body-03-03.onnx"]
    edit(copy, files=files)
    assert "body-03-03.onnx belongs to a segment but has no hash" in refused(copy)


def test_not_a_bundle(tmp_path):
    assert "is not a bundle" in refused(tmp_path)
    assert "is not a bundle" in refused(tmp_path / "absent")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_calibrations_are_there_to_read(name):
    text = (Path(__file__).parents[2] / f"calibration/default/{name}.json").read_text(
        encoding="utf-8"
    )
    assert text == (SHIPPED[name] / "calibration.json").read_text(encoding="utf-8")
    calibration = Bundle.open(name).calibration
    assert calibration.gate is None
    assert set(calibration.rules) == {"FW", "F", "last", "max", "median"}
    assert calibration.rules["FW"].promises[0].all_gates is not None


def test_constants_without_a_hash_are_refused(copy):
    """Engines read them: a changed weight would be a plausible wrong score."""
    files = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))["files"]
    del files[WEIGHTS]
    edit(copy, files=files)
    assert "weights.bin belongs to a segment but has no hash" in refused(copy)


@pytest.mark.parametrize("place", [".hidden", "../outside", "w" * 200])
def test_constants_of_another_name_are_refused(copy, place):
    """A graph may name any file; only those in the manifest are verified."""
    import onnx
    from onnx import external_data_helper

    path = copy / "body-03-03.onnx"
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            for entry in tensor.external_data:
                entry.value = place if entry.key == "location" else entry.value
    onnx.save(model, path)
    files = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))["files"]
    edit(copy, files={**files, path.name: sha256(path)})
    assert "belongs to a segment but has no hash" in refused(copy)


def test_files_that_no_engine_reads_may_lie_there(copy):
    (copy / "README.md").write_text("mine", encoding="utf-8")
    assert Bundle.open(copy).manifest.exits == (1, 2, 3, 4)


@pytest.mark.parametrize("name", [WEIGHTS, "tail-02-02.onnx"])
def test_a_file_that_changes_after_opening_is_refused(copy, name):
    """Segments are loaded when they are needed first, maybe hours later."""
    bundle = Bundle.open(copy)
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[::-1])
    with pytest.raises(BundleError, match=rf"{name} changed .* open the bundle again"):
        bundle.file_of(Segment(2, 2, True))
    (copy / name).write_bytes(data)  # as it was, with another time
    assert bundle.file_of(Segment(2, 2, True)).is_file()
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} changed or vanished"):
        bundle.file_of(Segment(2, 2, True))


def test_another_bundle_in_its_place_is_refused(copy, checkpoint):
    """`build --force` under a service: segments of two models would be one network."""
    bundle = Bundle.open(copy)
    assert bundle.file_of(Segment(1, 1)).is_file()
    build_bundle(checkpoint, copy, BuildRecipe(backend="ort", precision="fp16"), force=True)
    with pytest.raises(BundleError, match="open the bundle again"):
        bundle.file_of(Segment(2, 2))


def test_what_a_killed_replacement_left_is_named(copy):
    copy.rename(copy.with_name(".copy.old"))
    assert refused(copy) == (
        f"{copy} is missing: a build was stopped while it replaced it; build it again, or rename "
        f"{copy.with_name('.copy.old')} to copy"
    )
