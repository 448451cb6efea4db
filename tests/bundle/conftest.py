"""A bundle to spoil, and the one line with which opening it is refused."""

import json
import shutil

import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import MANIFEST
from edge_fiqa.errors import BundleError


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle.folder, tmp_path / "copy")


def edit(folder, **changes):
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest.update(changes)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def refused(folder):
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message
