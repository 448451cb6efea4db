"""Bundles: opened whole or refused with one clear line."""

import json
from pathlib import Path

import msgspec
import pytest

from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.bundle.manifest import MANIFEST, WEIGHTS
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
    assert "body-03-03.onnx is a segment but has no hash" in refused(copy)


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
