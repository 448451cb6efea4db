"""OpenVINO: life without a cache, and what it must not compute."""

import pytest

from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.engines import ov as module
from edge_fiqa.engines.ov import OpenVINO
from edge_fiqa.engines.processor import Processor
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import Segment


def test_a_user_without_a_home_has_no_cache(homeless, bundle, faces):
    with OpenVINO(bundle, threads=1) as engine:
        assert engine.run(Segment(1, 1), faces[:1])[1].shape == (1, 1)


def test_int8_is_refused_where_openvino_computes_it_wrongly(monkeypatch):
    monkeypatch.setattr(module, "this_processor", lambda: Processor("M4", ("asimddp", "sme")))
    with pytest.raises(EngineFailed, match="--precision fp32"):
        open_engine(Bundle.open(SHIPPED["nano"]), "ov")
