"""Compiled models that OpenVINO wrote on an earlier start: never a changed one, never a foreign one."""

import os

import numpy as np
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import compiled_models
from edge_fiqa.engines.compiled_models import CompiledModel, CompiledModels
from edge_fiqa.engines.ov import OpenVINO
from edge_fiqa.types import Segment

FULL = Segment(1, 4, True)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    compiled_models._keeps.cache_clear()
    yield tmp_path / "cache"
    compiled_models._keeps.cache_clear()


def scores(bundle, faces):
    with OpenVINO(bundle, threads=1) as engine:
        return engine.run(FULL, faces[:1])[1]


def kept_files(cache):
    return sorted(cache.rglob("*.model"))


def test_a_second_start_reads_what_the_first_wrote(bundle, faces, cache, monkeypatch):
    expected = scores(bundle, faces)
    assert len(kept_files(cache)) == 1
    monkeypatch.setattr(OpenVINO, "_compile", None)  # would be called
    np.testing.assert_array_equal(scores(bundle, faces), expected)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "another"])
def test_a_changed_model_is_compiled_again_with_one_line(bundle, faces, cache, caplog, damage):
    """2,000 flipped bytes changed a quality from 86 to 55, without a word."""
    expected = scores(bundle, faces)
    (file,) = kept_files(cache)
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        middle = len(data) // 2
        data[middle : middle + 2000] = bytes(~b & 255 for b in data[middle : middle + 2000])
    elif damage == "another":
        with OpenVINO(bundle, threads=1) as engine:
            engine.run(Segment(1, 3, True), faces[:1])
        (other,) = set(kept_files(cache)) - {file}
        data = other.read_bytes()
    file.write_bytes({"cut": data[:-100], "empty": b""}.get(damage, data))
    np.testing.assert_array_equal(scores(bundle, faces), expected)
    assert caplog.messages == [f"{file} is damaged or was changed: it is not used and made again"]
    caplog.clear()
    np.testing.assert_array_equal(scores(bundle, faces), expected)
    assert caplog.messages == []


def test_a_folder_that_everyone_may_write_is_avoided(bundle, faces, cache, caplog):
    expected = scores(bundle, faces)
    (file,) = kept_files(cache)
    file.parent.chmod(0o777)
    compiled_models._keeps.cache_clear()
    file.write_bytes(b"not a model")
    np.testing.assert_array_equal(scores(bundle, faces), expected)
    np.testing.assert_array_equal(scores(bundle, faces), expected)
    (line,) = caplog.messages
    assert line.startswith(f"compiled models are not kept: everyone may write {file.parent}; ")
    assert "chmod go-w" in line
    assert "EDGE_FIQA_CACHE" in line
    assert file.read_bytes() == b"not a model"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_model_of_another_user_is_not_loaded(bundle, faces, cache, caplog):
    expected = scores(bundle, faces)
    (file,) = kept_files(cache)
    os.chown(file, 4711, -1)
    np.testing.assert_array_equal(scores(bundle, faces), expected)
    assert caplog.messages == [f"{file} belongs to another user: it is not used and made again"]


def test_a_model_that_the_library_refuses_is_compiled_again(bundle, faces, cache, caplog):
    """Whole by its digest, as a file of another build of the library would be."""
    with OpenVINO(bundle, threads=1) as engine:
        key = CompiledModel(FULL, 1, engine._settings())
        engine._compiled.write(key, b"not a model")
    assert scores(bundle, faces).shape == (1, 4)
    (line,) = caplog.messages
    assert "cannot be loaded" in line
    assert "made again" in line


def test_a_model_belongs_to_all_that_it_depends_on(bundle, cache):
    models = CompiledModels(bundle, "library-1")
    models.write(CompiledModel(FULL, 1, {"threads": 1}), b"compiled")
    assert models.read(CompiledModel(FULL, 1, {"threads": 1})) == b"compiled"
    for other in (
        CompiledModel(FULL, 2, {"threads": 1}),
        CompiledModel(FULL, 1, {"threads": 2}),
        CompiledModel(Segment(1, 3, True), 1, {"threads": 1}),
    ):
        assert models.read(other) is None
    assert CompiledModels(bundle, "library-2").read(CompiledModel(FULL, 1, {"threads": 1})) is None
    nano = Bundle.open()
    shipped, whole = CompiledModels(nano, "library-1"), Segment(1, nano.config.depth, True)
    assert shipped.read(CompiledModel(whole, 1, {"threads": 1})) is None


def test_a_full_disk_costs_one_line(bundle, faces, cache, caplog, monkeypatch):
    def full(*arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(compiled_models, "write_kept", full)
    with OpenVINO(bundle, threads=1) as engine:
        for batch in (1, 2):
            engine.run(FULL, faces[:batch])
    (line,) = caplog.messages
    assert line.endswith("No space left on device; compiled models are not kept")
