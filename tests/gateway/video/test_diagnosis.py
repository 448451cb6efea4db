"""Why a camera does not open, told apart against real servers."""

import contextlib
import socket
import threading

import pytest

from edge_fiqa.gateway.video.diagnosis import why_not_open
from tests.gateway.video.conftest import PASSWORD
from tests.ports import port_to_keep


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_what_an_rtsp_server_refuses(rtsp, method):
    start, url = rtsp
    start(method)
    answers = {
        url.replace(PASSWORD, "guessed"): "it refuses user name and password",
        url.replace(f"viewer:{PASSWORD}@", ""): "it asks for a user name and a password: give "
        "username and password_env",
        f"{url}/other": "it has no such stream: look at the path of its address",
        url: "it answers, and sends no video that can be read",  # it would have opened
    }
    assert {address: why_not_open(address, 5.0) for address in answers} == answers


def test_a_stream_of_sound_only(rtsp):
    start, url = rtsp
    start("digest", "audio")
    assert why_not_open(url, 5.0) == "the stream has no video: sound only, or metadata"


def test_hosts_that_are_not_there():
    port = port_to_keep()
    refused = f"its host answers, and nothing listens at port {port}"
    assert why_not_open(f"rtsp://u:geheim@127.0.0.1:{port}/s", 2.0) == refused
    assert why_not_open(f"http://127.0.0.1:{port}/s", 2.0) == refused
    unknown = "its host name is not known"
    assert why_not_open("rtsp://u:geheim@no-such-host.invalid/s", 2.0) == unknown


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 400 no\r\n\r\n", "not as an RTSP server"),
        (b"", "not as an RTSP server"),
        (b"x" * 200_000, "not as an RTSP server"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: many\r\n\r\n", "not as an RTSP server"),
        (b"RTSP/1.0 401 no\r\nWWW-Authenticate: Digest x\r\n\r\n", "refuses"),
        (b"RTSP/1.0 454 no\r\n\r\n", "RTSP status 454"),
    ],
)
def test_servers_that_answer_otherwise(answer, says):
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    address = f"rtsp://u:geheim@127.0.0.1:{listening.getsockname()[1]}/s"
    said = why_not_open(address, 5.0)
    assert says in said
    assert "geheim" not in said
    server.join(100)
    listening.close()


def test_a_server_that_never_ends_its_answer_does_not_hold_the_camera():
    listening = socket.create_server(("127.0.0.1", 0))
    asked = threading.Event()

    def drip():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            while not asked.wait(0.05):
                connection.sendall(b"x")

    server = threading.Thread(target=drip, daemon=True)
    server.start()
    address = f"rtsp://127.0.0.1:{listening.getsockname()[1]}/s"
    assert why_not_open(address, 0.5) == "its host does not answer"
    asked.set()
    server.join(100)
    listening.close()
