"""What the tests of the TensorRT engine share: the reference's scores, and the folder of plans."""

import pytest

from edge_fiqa.engines import open_engine
from edge_fiqa.measurement.all_exits import all_exits


@pytest.fixture(scope="session")
def reference(bundle, faces):
    with open_engine(bundle, "ort") as engine:
        return all_exits(engine, faces)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache/edge_fiqa/tensorrt"


def plans(cache):
    return sorted(path.name for path in cache.rglob("*.plan"))


def half_written(cache):
    return [path.name for path in cache.rglob(".*") if path.is_file()]
