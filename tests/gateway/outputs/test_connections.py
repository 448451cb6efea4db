"""Attacks on the connections: idle, unfinished, slow, cut, too many; and no descriptor left."""

import logging
import resource
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from edge_fiqa.gateway.outputs import HttpConfig, connections, serve
from edge_fiqa.gateway.outputs.connections import CONNECTIONS, PER_ADDRESS, group_of
from tests.gateway.fake_view import FakeView, jpeg
from tests.gateway.outputs.test_server import certificate
from tests.waiting import until

certificate = certificate  # a fixture
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SERVER = "edge_fiqa.gateway.outputs.server"


@pytest.fixture
def server_of(monkeypatch):
    opened = []

    def open_server(view=None, settings=None, **constants):
        for name, value in constants.items():
            monkeypatch.setattr(f"{SERVER}.{name}", value)
        opened.append(serve(view or FakeView(), HttpConfig(port=0, **(settings or {})), []))
        return opened[-1]

    yield open_server
    for server in opened:
        server.close()


@pytest.fixture
def connect():
    """connect(server, address) from that address of this machine."""
    opened = []

    def open_connection(server, address="127.0.0.1"):
        port = int(server.url.rsplit(":", 1)[1])
        new = socket.create_connection(("127.0.0.1", port), 20, source_address=(address, 0))
        opened.append(new)
        return new

    yield open_connection
    for connection in opened:
        connection.close()


def answer_of(connection, request=HEALTH):
    connection.sendall(request)
    return everything_from(connection, stop=b"}")


def everything_from(connection, stop=None):
    heard = b""
    try:
        while chunk := connection.recv(65536):
            heard += chunk
            if stop is not None and stop in heard:
                break
    except ConnectionResetError:
        pass
    return heard


def test_idle_connections_of_one_address_leave_room_for_others(server_of, connect):
    server = server_of(HEADER_S=60.0)  # the flood alone may take ten seconds
    idle = [connect(server) for _ in range(PER_ADDRESS)]
    until(lambda: server._socket.count == PER_ADDRESS)
    for _ in range(200):
        connect(server)
    assert b"503" in everything_from(connect(server))
    assert server._socket.count == PER_ADDRESS
    assert b'"live":true' in answer_of(connect(server, "127.0.0.2"))
    for connection in idle:
        connection.close()
    until(lambda: server._socket.count <= 1)
    assert b'"live":true' in answer_of(connect(server))


def test_all_addresses_together_have_a_limit(server_of, connect):
    server = server_of(CONNECTIONS=6, PER_ADDRESS=2)
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        for _ in range(2):
            connect(server, address)
    until(lambda: server._socket.count == 6)
    refused = everything_from(connect(server, "127.0.0.4"))
    head, body = refused.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert f"content-length: {len(body)}".encode() in head
    assert body == b'{"error": "too many connections"}'


def test_a_proxy_has_one_address_for_all(server_of, connect, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_TOKEN", "0123456789abcdef")
    server = server_of(settings={"behind_proxy": True}, CONNECTIONS=8, PER_ADDRESS=2)
    for _ in range(7):
        connect(server)
    assert b'"live":true' in answer_of(connect(server))


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_what_counts_as_one_address(address, group):
    assert group_of(address) == group


def test_descriptors_are_kept_for_cameras_and_files(monkeypatch):
    """A limit of 80 descriptors leaves 20 to clients."""
    limits = {"now": (80, 80)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.update(now=new))
    assert connections.raise_descriptor_limit() // connections.SHARE == 20
    limits["now"] = (1024, 524_288)
    assert connections.raise_descriptor_limit() == 65_536
    assert limits["now"] == (65_536, 524_288)
    assert CONNECTIONS < 1024 // connections.SHARE


def test_no_descriptor_is_one_line_and_passes(tmp_path):
    """The server's own process has none; asyncio would log a traceback for every try."""
    code = """
import logging, os, resource, socket, sys, threading
logging.basicConfig(level=logging.INFO, format="%(message)s")
from tests.gateway.fake_view import FakeView
from edge_fiqa.gateway.outputs import HttpConfig, serve
server = serve(FakeView(), HttpConfig(port=0), [])
port = int(server.url.rsplit(":", 1)[1])
clients = [socket.socket() for _ in range(20)]
last = socket.socket()
highest = max(int(name) for name in os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 50, highest + 50))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for client in clients:
    client.settimeout(60)
    client.connect(("127.0.0.1", port))
    try:
        assert client.recv(1) == b""
    except ConnectionResetError:
        pass
for descriptor in taken:
    os.close(descriptor)
last.settimeout(60)
last.connect(("127.0.0.1", port))
last.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
print(last.recv(12).decode(), flush=True)
last.close()
server.close()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout == "HTTP/1.1 200\n", run.stderr
    assert "Too many open files" in run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_tls_handshake_that_does_not_come_is_cut(server_of, connect, certificate):
    settings = {"tls_cert": certificate[0], "tls_key": certificate[1]}
    server = server_of(settings=settings, HEADER_S=0.3)
    silent, half = connect(server), connect(server)
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a ClientHello
    assert everything_from(silent) == everything_from(half) == b""
    plain = connect(server)
    assert b"HTTP/1.1 200" not in answer_of(plain)
    until(lambda: server._socket.count == 0)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    assert httpx2.get(f"{server.url}/healthz", verify=context, timeout=60).is_success


def test_one_who_does_not_read_is_cut_off(server_of, connect):
    class Large(FakeView):
        def frame(self, camera):
            return bytes(20_000_000)

    server = server_of(Large(), WRITE_S=0.3)
    slow = connect(server)
    slow.sendall(b"GET /api/cameras/door/frame HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    until(lambda: server._socket.count == 1)
    until(lambda: server._socket.count == 0)
    assert len(everything_from(slow)) < 20_000_000


def test_clients_that_leave_in_the_middle_are_no_errors(server_of, connect, caplog):
    caplog.set_level(logging.INFO)
    server = server_of()
    head = b"POST /api/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"
    requests = (b"GET", HEALTH[:-4], head, head + b"x" * 5000, HEALTH * 50)
    for request in requests:
        for _ in range(3):
            connection = connect(server)
            connection.sendall(request)
            until(lambda: server._socket.count == 1)
            connection.close()
            until(lambda: server._socket.count == 0)
    assert caplog.records == []


def test_closing_during_a_body_is_no_error(server_of, connect, caplog):
    caplog.set_level(logging.INFO)
    server = server_of(DRAIN_S=1)
    connection = connect(server)
    connection.sendall(
        b"POST /api/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nx"
    )
    until(lambda: server._server.server_state.tasks)
    server.close()
    assert b"503" in everything_from(connection)
    assert not server._thread.is_alive()
    assert [record.getMessage() for record in caplog.records] == []


def test_what_is_no_http_gets_the_same_headers(server_of, connect):
    server = server_of()
    for request in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /api/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 70_000,
    ):
        connection = connect(server)
        connection.sendall(request)
        heard = everything_from(connection)
        head, body = heard.split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-security-policy: default-src 'none'" in head
        assert b"cache-control: no-store" in head
        assert body == b'{"error": "this is no valid HTTP request"}'


def test_two_lengths_are_refused(server_of, connect):
    """A proxy that takes the other one would see a second request in the body."""
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    heads = (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
             b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")  # fmt: skip
    server = server_of()
    for head in heads:
        connection = connect(server)
        connection.sendall(
            b"POST /api/faces HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n" + smuggled
        )
        heard = everything_from(connection)
        assert heard.startswith(b"HTTP/1.1 400 ")
        assert heard.count(b"HTTP/1.1") == 1


@pytest.mark.slow
def test_opened_and_closed_a_hundred_times(server_of):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(100):
        server = serve(FakeView(), HttpConfig(port=0), [])
        if number % 25 == 0:
            assert httpx2.post(f"{server.url}/api/faces", content=jpeg(), timeout=60).is_success
        server.close()
        assert not server._thread.is_alive()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_a_wrong_token_does_not_lock_out_the_right_one(server_of, monkeypatch):
    token = "0123456789abcdef"
    monkeypatch.setenv("EDGE_FIQA_TOKEN", token)
    server = server_of()
    with httpx2.Client(base_url=server.url, timeout=60) as client:

        def asked_with(token):
            headers = {"authorization": f"Bearer {token}"}
            return client.get("/api/cameras", headers=headers).status_code

        assert {asked_with("the token of last year") for _ in range(30)} == {401}
        assert asked_with("another wrong token") == 401
        assert [asked_with(f"guess {n}") for n in range(20)][-1] == 429
        assert asked_with(token) == 200
        assert asked_with("guess, again") == 429
