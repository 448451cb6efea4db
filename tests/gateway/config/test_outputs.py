"""What the sections of the outputs accept, and what keeps a gateway closed by default."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.outputs import FileConfig, HttpConfig, MqttConfig, StoreConfig

TOKEN = "0123456789abcdef"


def test_loopback_and_no_token_by_default(monkeypatch):
    monkeypatch.delenv("EDGE_FIQA_TOKEN", raising=False)
    http = HttpConfig()
    assert http.host == "127.0.0.1"
    assert http.token() is None
    monkeypatch.setenv("EDGE_FIQA_TOKEN", TOKEN)
    assert http.token() == TOKEN


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4"])
def test_other_machines_need_tls_and_a_token(host, monkeypatch):
    with pytest.raises(ValidationError, match="tls_cert and tls_key"):
        HttpConfig(host=host)
    monkeypatch.delenv("EDGE_FIQA_TOKEN", raising=False)
    for more in ({"behind_proxy": True}, {"tls_cert": "c.pem", "tls_key": "k.pem"}):
        with pytest.raises(ConfigError, match="EDGE_FIQA_TOKEN is not set"):
            HttpConfig(host=host, **more).token()


def test_a_proxy_on_the_same_machine_needs_a_token_too(monkeypatch):
    monkeypatch.delenv("EDGE_FIQA_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="is not set"):
        HttpConfig(behind_proxy=True).token()


@pytest.mark.parametrize(
    "token", ["too-few", "with a space in it", "tab\tinside-it-somewhere", "é" * 20]
)
def test_tokens_that_would_not_work(token, monkeypatch):
    monkeypatch.setenv("GATE", token)
    with pytest.raises(ConfigError) as caught:
        HttpConfig(token_env="GATE").token()
    assert token not in str(caught.value)


def test_the_store_is_off_until_days_are_given():
    with pytest.raises(ValidationError, match="retention_days"):
        StoreConfig(folder=Path("shots"))


@pytest.mark.parametrize(
    "bad",
    [
        {"host": "broker", "prefix": "a/#"},
        {"host": "broker", "prefix": "/a"},
        {"host": "broker", "discovery": "+"},
        {"host": "broker", "port": 0},
        {"host": "broker", "ca_file": "ca.pem"},
        {"host": "broker", "password_env": "P"},
        {"host": "broker", "password": "in the file"},
        {"host": ""},
        {"host": "mqtt://broker"},
        {"host": "broker:1883"},
        {"host": "user@broker"},
        {"host": "broker", "snapshot_px": 10},
        {"host": "broker", "cert_file": "c.pem", "key_file": "k.pem"},
        {"host": "broker", "tls": True, "cert_file": "c.pem"},
        {"host": "broker", "websocket": "mqtt"},
    ],
)
def test_mqtt_refuses(bad):
    with pytest.raises(ValidationError) as caught:
        MqttConfig(**bad)
    assert "in the file" not in str(caught.value)


def test_passwords_come_from_the_environment(monkeypatch):
    config = MqttConfig(host="b", username="u", password_env="BROKER_PASSWORD", tls=True)
    with pytest.raises(ConfigError, match=r"mqtt\.password_env: .* BROKER_PASSWORD is not set"):
        config.password()
    monkeypatch.setenv("BROKER_PASSWORD", "secret")
    assert config.password() == "secret"
    assert config.address() == ("b", 8883)
    assert "secret" not in repr(config)


def test_ports_by_how_the_broker_is_reached():
    for more, port in (
        ({}, 1883),
        ({"tls": True}, 8883),
        ({"websocket": "/mqtt"}, 80),
        ({"websocket": "/mqtt", "tls": True}, 443),
        ({"websocket": "/mqtt", "port": 9001}, 9001),
    ):
        assert MqttConfig(host="b", **more).address() == ("b", port)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", [MqttConfig, HttpConfig, FileConfig, StoreConfig])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_configuration_raises_anything_but_a_refusal(kind, data):
    keys = st.sampled_from([*kind.model_fields, "unknown"])
    given_ = data.draw(st.dictionaries(keys, JSON, max_size=6))
    try:
        section = kind.model_validate(given_)
    except ValidationError:
        return
    assert kind.model_validate(section.model_dump()) == section
