"""Every mistake in gateway.yaml is said in our words, and no secret is."""

import re
from typing import get_origin

import pytest
import yaml

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.gateway import GatewayConfig, load_config
from edge_fiqa.gateway.config.mistakes import _models_in

PYDANTIC = re.compile(
    "[Ii]nput|[Ff]ield|should|valid (string|number|int|dict)|pattern|Config|pydantic|class"
)
SECRET = "s3cret of mine"
LONG = "x" * 5000
VALUES = ("true", "3", "-1.5", "1.0e+30", ".nan", "''", f"'{SECRET}'", "2026-01-31", "null", "[]",
          "[[1, 2, 3]]", "{}", "{a b: 1}", f"{{{SECRET}: [1]}}", "!!binary eA==", LONG)  # fmt: skip


def sections(model=GatewayConfig, place=()):
    yield place, model
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            of_names = ("one",) if get_origin(field.annotation) is dict else ()
            yield from sections(inner, (*place, name, *of_names))


def mistakes(tmp_path, text):
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load_config(file, {})
    except ConfigError as exc:
        return [line.removeprefix(f"{file}") for line in str(exc).splitlines()]
    return []


def written(place, value):
    """YAML with this value there, and nothing else."""
    for key in reversed(place):
        value = f"{{{key}: {value}}}"
    return value


@pytest.mark.parametrize("value", VALUES)
def test_every_key_of_every_section_says_it_in_our_words(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_FIQA_DETECTOR", "none")
    places = {
        place if name is None else (*place, name)
        for place, model in sections()
        for name in (None, *model.model_fields)
    } - {()}
    assert len(places) > 80
    for place in sorted(places):
        for line in mistakes(tmp_path, written(place, value)):
            wrong = line.partition(": ")[2]
            assert not PYDANTIC.search(wrong), line
            assert SECRET not in wrong or "zones" in line, line  # their names are no secrets


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{mqtt: 5}", "mqtt: must be a section (of keys such as host, port, tls), not a number"),
        (
            "{http: []}",
            "http: must be a section (of keys such as host, port, token_env), not a list",
        ),
        ("{cameras: [a]}", "cameras: must be a section of names and values, not a list"),
        ("{mqtt: {host: h, username: 1234}}", "must be text (put it in quotes), not a number"),
        ("{mqtt: {host: ''}}", "mqtt.host: must have at least 1 character"),
        ("{mqtt: {host: h, prefix: /a/}}", "prefix: must be letters, digits, - and _, with a /"),
        ("{workers: 2.5}", "workers: must be a whole number, not 2.5"),
        (f"{{workers: 1{'0' * 400}}}", "workers: must be at most 64, not a very large number"),
        (f"{{workers: 1{'0' * 5000}}}", "not YAML that can be read"),
        ("{mqtt: {host: h, port: 1883000}}", "mqtt.port: must be at most 65535, not 1883000"),
        ("{http: {frames: maybe}}", "http.frames: must be true or false, not text"),
        ("{schedule: {policy: fast}}", "schedule.policy: must be full, gate or convergence"),
        ("{http: {allowed_hosts: a}}", "allowed_hosts: must be a list, as [a, b], not text"),
        ("{cameras: {a: {source: 0, motion: {gates: 1}}}}", "unknown key; did you mean gate?"),
        (
            "{cameras: {a: {source: 0, zones: {z: [[0, 0], [1], [1, 1]]}}}}",
            "cameras.a.zones.z.1.1: a point has two numbers, [x, y]",
        ),
    ],
)
def test_what_is_wrong_and_what_to_write(tmp_path, text, says):
    (line,) = mistakes(tmp_path, text)
    assert says in line


def test_a_source_that_is_longer_than_a_name_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump({"cameras": {"a": "x" * 5000}})
    (line,) = mistakes(tmp_path, text)
    assert line == ", line 2, cameras.a: no such file or folder, and not an address"
