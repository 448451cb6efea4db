"""Addresses of streams: passwords are encoded by us, and no part of one is taken for a host."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.address import read_address, with_user
from edge_fiqa.gateway.config.camera import CameraConfig

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@pytest.mark.parametrize("character", "#?/@%")
def test_a_password_that_would_be_cut_is_refused_and_not_quoted(character):
    with pytest.raises(ValueError, match="password_env") as caught:
        read_address(f"rtsp://viewer:geheim{character}wort@10.0.0.5/stream")
    assert "geheim" not in str(caught.value)
    assert "wort" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://",
        "rtsp:///stream",
        "rtsp://viewer:x@/stream",
        "rtsp://a b/stream",
        "rtsp://-/stream",
        "rtsp://ho$t/stream",
        "rtsp://host:0/",
        "rtsp://host:70000/",
        "rtsp://host:port/",
        "rtsp://1:2:3/",
        "rtsp://[nine]/",
        "http://viewer:x@ho!st/",
    ],
)
def test_what_is_no_host(address):
    with pytest.raises(ValueError, match=r"host|port|space|IPv6"):
        read_address(address)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("rtsp://10.0.0.5/stream", "10.0.0.5", None),
        ("rtsp://u:p:q@cam-1.lan:8554/a?b=c#d", "cam-1.lan", 8554),
        ("rtsp://u:%40%2F@my_camera/a", "my_camera", None),
        ("rtsp://u@[fe80::1%25eth0]:554/", "fe80::1", 554),
        ("http://localhost:80", "localhost", 80),
        ("udp://@239.0.0.1:1234", "239.0.0.1", 1234),
        ("udp://:1234", "", 1234),
        ("file:///a.avi", "", None),
    ],
)
def test_hosts_and_ports(address, host, port):
    assert (read_address(address).host, read_address(address).port) == (host, port)


@settings(max_examples=200, deadline=None)
@given(TEXT.filter(lambda text: ":" not in text), TEXT)
def test_every_user_and_password_comes_back_from_the_address(username, password):
    """Whatever they hold, a reader of the URL (RFC 3986) finds the same host, user and password."""
    address = with_user("http://camera.lan:8080/a?b=c", username, password)
    parts = urlsplit(address)
    assert (parts.hostname, parts.port, parts.path, parts.query) == (
        "camera.lan",
        8080,
        "/a",
        "b=c",
    )
    assert (unquote(parts.username), unquote(parts.password)) == (username, password)
    assert read_address(address).host == "camera.lan"


@settings(max_examples=200, deadline=None)
@given(st.text("ab:/?#@%1. ", max_size=20))
def test_an_address_that_is_read_has_the_host_that_others_see(text):
    """Else FFmpeg would resolve something that the check has not seen."""
    try:
        address = read_address(f"rtsp://{text}/x")
    except ValueError:
        return
    assert urlsplit(f"rtsp://{text}/x").hostname.partition("%")[0] == address.host.lower()


def test_what_ffmpeg_would_cut_is_refused():
    assert with_user("rtsp://h/", "u", "x" * 125)
    with pytest.raises(ValueError, match="127"):
        with_user("rtsp://h/", "u", "x" * 126)
    assert with_user("http://h/", "u", "x" * 500)


def camera(**keys):
    return CameraConfig.model_validate({"source": "rtsp://h/s", **keys})


def test_a_camera_takes_its_password_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "a/b")
    config = camera(username="viewer", password_env="CAM_PASSWORD")
    assert config.address == "rtsp://viewer:a%2Fb@h/s"
    assert "a/b" not in repr(config)
    (tmp_path / "password").write_text("c#d\n", encoding="utf-8")
    config = camera(username="viewer", password_file=tmp_path / "password")
    assert config.address == "rtsp://viewer:c%23d@h/s"
    (tmp_path / "password").write_text("new", encoding="utf-8")
    assert config.address == "rtsp://viewer:new@h/s"


def test_a_password_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv("CAM_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match=r"password_env: .* CAM_PASSWORD is not set"):
        _ = camera(username="u", password_env="CAM_PASSWORD").address
    (tmp_path / "empty").touch()
    for name, says in (("absent", "No such file"), ("empty", "is empty")):
        with pytest.raises(ConfigError, match=says):
            _ = camera(username="u", password_file=tmp_path / name).address


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"username": "u"}, "needs password_env or password_file"),
        ({"password_env": "P"}, "need username"),
        ({"username": "u", "password_env": "P", "password_file": "f"}, "needs password_env or"),
        ({"source": "rtsp://a:b@h/s", "username": "u", "password_env": "P"}, "already"),
        ({"source": "0", "username": "u", "password_env": "P"}, "username is for streams"),
        ({"source": "0", "transport": "udp"}, "transport is for streams"),
        ({"source": "http://c/x", "transport": "udp"}, "transport is for rtsp"),
        ({"source": "0", "decode": {"acceleration": "any"}}, "decode is for streams and files"),
        (
            {"source": "rtsp://c/x", "transport": "udp", "decode": {"acceleration": "any"}},
            "transport is not used where",
        ),
        (
            {"source": "rtsp://c/x", "ffmpeg": {"a": "b"}, "decode": {"acceleration": "any"}},
            "ffmpeg is not used where",
        ),
        ({"source": "rtsp://cam..local/x"}, "host"),
        ({"source": f"rtsp://{'a' * 64}.local/x"}, "host"),
        ({"source": "0", "ffmpeg": {"a": "b"}}, "ffmpeg is for streams"),
        ({"ffmpeg": {"A b": "c"}}, "pattern"),
        ({"rotate": 45}, "0, 90, 180 or 270"),
    ],
)
def test_keys_that_contradict_each_other(keys, says):
    with pytest.raises(ValueError, match=says):
        camera(**keys)
