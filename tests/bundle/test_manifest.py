"""Manifests: written whole, and refused with one clear line where they are damaged or foreign."""

import errno
import os

import msgspec
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import MANIFEST, WEIGHTS, read_manifest, save_manifest
from edge_fiqa.errors import BundleError
from tests.bundle.conftest import edit, refused


def test_what_is_saved_is_read(bundle, tmp_path):
    save_manifest(bundle.manifest, tmp_path)
    assert read_manifest(tmp_path / MANIFEST) == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_names_of_causes_are_saved_and_read(bundle, tmp_path):
    manifest = msgspec.structs.replace(bundle.manifest, causes=("yaw", "motion_blur"))
    save_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path / MANIFEST) == manifest


def test_costs_that_do_not_fit_on_the_disk_leave_the_bundle_as_it_was(copy, monkeypatch):
    bundle = Bundle.open(copy)
    costs = msgspec.structs.replace(bundle.manifest.costs, device="another")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match=r"manifest\.json: No space left on device"):
        bundle.with_costs(costs)
    assert Bundle.open(copy).manifest == bundle.manifest
    monkeypatch.undo()
    assert bundle.with_costs(costs).manifest.costs.device == "another"
    assert Bundle.open(copy).manifest.costs.device == "another"


def test_newer_schema(copy):
    edit(copy, schema="edge-fiqa-bundle/2")
    assert "newer than this edge_fiqa reads" in refused(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "onnx-community/1"}, "not an edge_fiqa bundle"),
        ({"schema": 3}, "damaged"),
        ({"surprise": 1}, "surprise"),
        ({"precision": "int4"}, "precision"),
        ({"causes": ["yaw", "<script>"]}, "causes"),
        ({"causes": ["yaw"], "cause_right": [0.9]}, "a share or null for every exit"),
        ({"cause_right": [0.9] * 4}, "needs causes"),
        ({"colour": "BGR"}, "colour"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "damaged"),
        ({"files": {WEIGHTS: "xyz"}}, "damaged"),
        (
            {"network": {"mode": "token", "width": 32, "depth": 4, "heads": 3, "mlp_ratio": 4}},
            "heads",
        ),
    ],
)
def test_foreign_and_damaged_manifests(copy, changes, message):
    edit(copy, **changes)
    refusal = refused(copy)
    assert message in refusal
    assert str(copy) in refusal


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"schema": "edge-fiqa-bundle/1"}'])
def test_a_manifest_that_is_no_manifest(copy, text):
    (copy / MANIFEST).write_text(text, encoding="utf-8")
    assert MANIFEST in refused(copy)
