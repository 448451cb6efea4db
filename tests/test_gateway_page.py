"""The file that docs/gateway.md shows is a configuration, names every key, and states the defaults."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.config.gateway import DetectorConfig, GatewayConfig

PAGE = Path(__file__).parents[1] / "docs/gateway.md"
OUTPUTS = {"mqtt", "http", "file", "store"}  # docs/gateway-outputs.md has their keys


@pytest.fixture(scope="module")
def shown():
    text = PAGE.read_text(encoding="utf-8")
    block = re.search(r"^## The file\n.*?^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    return yaml.safe_load(block.replace("rtsp://...", "rtsp://camera.lan/stream1"))


def assert_states_the_defaults(section, default, place=""):
    """section: as read from YAML. Every key is there, with its default."""
    assert set(section) == set(type(default).model_fields), place
    for key, value in section.items():
        expected = getattr(default, key)
        if isinstance(value, dict) and isinstance(expected, BaseModel):
            assert_states_the_defaults(value, expected, f"{place}.{key}")
        else:
            assert value == (list(expected) if isinstance(expected, tuple) else expected), key


def test_it_is_a_configuration(shown):
    config = GatewayConfig.model_validate(shown)
    assert list(config.cameras) == ["door", "hall"]
    assert set(shown) == set(GatewayConfig.model_fields)


def test_it_states_the_defaults(shown):
    default = GatewayConfig.model_validate({"http": {}})
    sections = {key: shown[key] for key in set(shown) - OUTPUTS - {"cameras", "detector"}}
    for key, value in sections.items():
        expected = getattr(default, key)
        if isinstance(expected, BaseModel):
            assert_states_the_defaults(value, expected, key)
        else:
            assert value == expected, key
    detector = shown["detector"] | {"model": DetectorConfig().model}
    assert_states_the_defaults(detector, DetectorConfig(), "detector")
    hall = dict(shown["cameras"]["hall"])
    default_camera = CameraConfig(source=hall["source"])
    assert_states_the_defaults(hall | {"source": default_camera.source}, default_camera, "hall")
