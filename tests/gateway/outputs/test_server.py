"""The server itself: where it listens, TLS, and that closing it is quick."""

import socket
import ssl
import subprocess
import time

import httpx2
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.outputs import (
    FileConfig,
    HttpConfig,
    MqttConfig,
    StoreConfig,
    check_outputs,
    close_sinks,
    open_sinks,
    serve,
    watch,
)
from tests.gateway.fake_view import FakeView, event, jpeg
from tests.needs import need
from tests.waiting import until

TOKEN = "0123456789abcdef"


@pytest.fixture
def certificate(tmp_path):
    names = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", names[0], "-keyout", names[1]], capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return names


def test_it_serves_until_it_is_closed(tmp_path):
    sinks = open_sinks(file=FileConfig(path=tmp_path / "events.ndjson"))
    server = serve(FakeView(), HttpConfig(port=0), sinks)
    watch(FakeView(), sinks)
    sinks[0].publish(event(0), None)
    assert server.url.startswith("http://127.0.0.1:")
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/healthz").json() == {"live": True}
        assert client.post("/api/faces", content=jpeg()).is_success
        assert "edge_fiqa_event_latency_seconds_count" in client.get("/metrics").text
        assert "server" not in client.get("/").headers
        server.close()
        until(lambda: not server._thread.is_alive())  # though this client keeps its connection
    server.close()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.url}/healthz")
    close_sinks(sinks, 5)
    close_sinks(sinks, 5)


def test_every_sink_counts_its_events(tmp_path):
    store = StoreConfig(folder=tmp_path / "shots", retention_days=7)
    sinks = open_sinks(file=FileConfig(path=tmp_path / "events.ndjson"), store=store)
    for sink in sinks:
        sink.publish(event(0), jpeg())
    close_sinks(sinks, 10)
    counts = {sink.name: (sink.delivered, sink.dropped, sink.waiting) for sink in sinks}
    assert counts == dict.fromkeys(("metrics", "file", "store"), (1, 0, 0))


def test_a_request_in_hand_is_answered_before_the_end():
    class Slow(FakeView):
        def push(self, *face):
            server._server.should_exit = True
            time.sleep(0.3)
            return super().push(*face)

    server = serve(Slow(), HttpConfig(port=0), [])
    assert httpx2.post(f"{server.url}/api/faces", content=jpeg(), timeout=60).is_success
    server.close()


def test_tls_and_token(certificate, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_TOKEN", TOKEN)
    cert, key = certificate
    config = HttpConfig(port=0, tls_cert=cert, tls_key=key)
    check_outputs(http=config)
    server = serve(FakeView(), config, [])
    assert server.url.startswith("https://")
    with httpx2.Client(
        base_url=server.url, verify=ssl.create_default_context(cafile=str(cert)), timeout=60
    ) as client:
        assert client.get("/api/cameras").status_code == 401
        answer = client.get("/api/cameras", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert "strict-transport-security" in answer.headers
    server.close()


def test_a_client_that_never_finishes_is_dropped(monkeypatch):
    monkeypatch.setattr("edge_fiqa.gateway.outputs.upload_limiter.BODY_TIMEOUT_S", 0.2)
    server = serve(FakeView(), HttpConfig(port=0), [])
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(
            b"POST /api/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc"
        )
        assert b"408" in slow.recv(1000)
    server.close()


def test_connections_that_ask_nothing_are_closed(monkeypatch):
    monkeypatch.setattr("edge_fiqa.gateway.outputs.server.HEADER_S", 0.3)
    server = serve(FakeView(), HttpConfig(port=0), [])
    host, port = server.url.removeprefix("http://").split(":")
    whole = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for sent, answered in ((b"", b""), (b"GET / HT", b""), (whole + b"GET / HT", b"live")):
        with socket.create_connection((host, int(port)), timeout=60) as idle:
            idle.sendall(sent)
            heard = b""
            while chunk := idle.recv(4096):  # until it is closed, not until the time-out
                heard += chunk
            assert answered in heard
    server.close()


def test_a_connection_that_goes_on_asking_is_kept(monkeypatch):
    monkeypatch.setattr("edge_fiqa.gateway.outputs.server.HEADER_S", 6.0)
    server = serve(FakeView(), HttpConfig(port=0), [])
    host, port = server.url.removeprefix("http://").split(":")
    end = time.monotonic() + 7.0
    with socket.create_connection((host, int(port)), timeout=60) as client:
        while time.monotonic() < end:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            heard = b""
            while b"live" not in heard:
                chunk = client.recv(4096)
                assert chunk, "it was closed"
                heard += chunk
    server.close()


def test_what_cannot_be_served(tmp_path, certificate, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="Address already in use"):
            serve(FakeView(), HttpConfig(port=taken.getsockname()[1]), [])
    with pytest.raises(ConfigError, match=r"http\.tls_cert"):
        check_outputs(http=HttpConfig(tls_cert=certificate[1], tls_key=certificate[0]))
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(ConfigError, match="ABSENT is not set"):
        check_outputs(mqtt=MqttConfig(host="b", username="u", password_env="ABSENT"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"mqtt\.spool"):
        open_sinks(
            file=FileConfig(path=tmp_path / "e.ndjson"),
            mqtt=MqttConfig(host="b", spool=tmp_path / "file" / "spool"),
        )
