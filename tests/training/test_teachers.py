"""Names of tables: of a network's file and how it is fed, remembered when the file is gone."""

import hashlib

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.training.teachers import Teachers, table_names


@pytest.fixture
def teachers(tmp_path):
    for name in ("teacher.onnx", "quality.onnx", "yunet.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    return Teachers(
        [(Recogniser(path=tmp_path / "teacher.onnx"), "inner")],
        [Recogniser(path=tmp_path / "quality.onnx", size=96)],
        detector=tmp_path / "yunet.onnx",
    )


def test_a_name_is_of_the_file_and_how_it_is_fed(teachers, tmp_path):
    """Caches of earlier versions have these names."""
    names = table_names(teachers, tmp_path / "cache")
    fed = repr((((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0, 112)), "inner")).encode()
    digest = hashlib.sha256(b"teacher.onnx" + fed).hexdigest()[:8]
    assert names[teachers.recognisers[0]] == f"teacher-{digest}"
    digest = hashlib.sha256(b"yunet.onnx").hexdigest()[:8]
    assert names[teachers.detector] == f"turns-{digest}"
    assert len(names) == 3


def test_names_are_remembered_by_the_cache_that_has_the_tables(teachers, tmp_path):
    names = table_names(teachers, tmp_path / "cache")
    for file in tmp_path.glob("*.onnx"):
        file.unlink()
    assert table_names(teachers, tmp_path / "cache") == names
    with pytest.raises(ConfigError, match=r"teacher\.onnx: no such file"):
        table_names(teachers, tmp_path / "other")


@pytest.mark.parametrize("changed", ["teacher.onnx", "quality.onnx", "yunet.onnx"])
def test_a_changed_file_has_another_name(teachers, tmp_path, changed):
    before = table_names(teachers, tmp_path / "cache")
    (tmp_path / changed).write_bytes(b"changed")
    after = table_names(teachers, tmp_path / "cache")
    assert sum(before[network] != after[network] for network in before) == 1
    (tmp_path / changed).unlink()
    assert table_names(teachers, tmp_path / "cache") == after  # the last one that was there


def test_another_feeding_is_not_remembered(teachers, tmp_path):
    table_names(teachers, tmp_path / "cache")
    path = tmp_path / "teacher.onnx"
    path.unlink()
    other = Teachers([(Recogniser(path=path, mean=(1.0, 0.0, 0.0)), "inner")])
    with pytest.raises(ConfigError, match=r"teacher\.onnx: no such file"):
        table_names(other, tmp_path / "cache")
