"""Streams: the shape of the picture is the one that was sent."""

import http.server
import threading

import cv2
import numpy as np
import pytest

from edge_fiqa.gateway.video import camera as camera_module
from edge_fiqa.gateway.video.camera import Camera
from edge_fiqa.gateway.video.source_lost import SourceLost
from edge_fiqa.gateway.video.stream import Stream
from tests.gateway.people import camera_config
from tests.waiting import until


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """A circle as Motion JPEG; after `server.turn_after` pictures of a connection it is turned once."""

    def log_message(self, *_):
        """Nothing."""

    def do_GET(self):
        if self.path in ("/401", "/404"):
            self.send_error(int(self.path[1:]))
            return
        self.send_response(200)
        self.send_header("content-type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        sent = 0
        while not self.server.over.wait(0.02):
            if sent == self.server.turn_after:
                self.server.shape = self.server.shape[::-1]
            sent += 1
            body = b"broken" if sent in self.server.broken else circle(*self.server.shape)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + body + b"\r\n")
            except OSError:
                return


def circle(width, height):
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, (width // 2, height // 2), 60, (0, 0, 255), -1)  # BGR: red
    return cv2.imencode(".jpg", image)[1].tobytes()


def extent(image):
    ys, xs = np.nonzero(image[..., 0] > 128)
    return int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg)
    server.shape, server.turn_after, server.broken = (320, 240), 40, ()
    server.over = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def test_a_stream_that_changes_its_shape_is_opened_anew_and_never_stretched(server, monkeypatch):
    monkeypatch.setattr(camera_module, "FIRST_WAIT_S", 0.05)
    camera = Camera("door", camera_config(server.url, fps=50))
    camera.start()
    extents, shapes, problems = set(), [], set()

    def reopened():
        frame, status = camera.take(), camera.status
        problems.add(status.problem)
        if frame is not None:
            extents.add(extent(frame.image))
            shapes.append(frame.image.shape[:2])
        return status.reconnects >= 1 and frame is not None

    until(lambda: reopened() and shapes[-1] == (320, 240))
    camera.stop()
    assert {(240, 320), (320, 240)} == set(shapes)
    assert all(abs(width - height) <= 2 for width, height in extents)
    assert "the picture is now 240x320: it is opened anew" in problems


def test_pixels_are_rgb(server):
    stream = Stream(camera_config(server.url))
    assert stream.grab()
    red, green, blue = stream.retrieve()[120, 160].astype(int)
    assert red > 200
    assert max(green, blue) < 60
    stream.close()


def test_damaged_pictures_are_passed_over(server):
    server.broken = range(10, 15)
    stream = Stream(camera_config(server.url))
    pictures = []
    for _ in range(30):
        assert stream.grab()
        pictures.append(stream.retrieve())
    stream.close()
    assert None in [image if image is None else 0 for image in pictures]
    assert pictures[-1] is not None


def test_what_ends_a_stream_names_no_address(server):
    with_password = server.url.replace("//", "//u:geheim@")
    for url, says in (
        (f"{server.url}401", "it asks for a user name and a password"),
        (f"{with_password}401", "it refuses user name and password"),
        (f"{with_password}404", "it has no such stream"),
    ):
        with pytest.raises(SourceLost, match=says) as caught:
            Stream(camera_config(url))
        assert "geheim" not in str(caught.value)
    stream = Stream(camera_config(server.url, timeout_s=1.0))
    assert stream.grab()
    server.over.set()
    with pytest.raises(SourceLost, match="the stream stopped"):
        all(stream.grab() for _ in range(10_000))
    stream.close()
