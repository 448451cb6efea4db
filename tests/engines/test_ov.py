"""OpenVINO: life without a cache."""

from edge_fiqa.engines.ov import OpenVINO
from edge_fiqa.types import Segment


def test_a_user_without_a_home_has_no_cache(homeless, bundle, faces):
    with OpenVINO(bundle, threads=1) as engine:
        assert engine.run(Segment(1, 1), faces[:1])[1].shape == (1, 1)
