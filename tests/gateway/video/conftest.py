"""A real RTSP server."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needs import missing
from tests.ports import port_to_keep

RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
PASSWORD = "s3cret-word"


@pytest.fixture
def rtsp():
    """(start, url): start() runs a server on a fixed port and returns the process.

    more: what rtsp_server.py takes beside user and password.
    """
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if (
        not shutil.which(SYSTEM_PYTHON)
        or subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode
    ):
        missing(
            "no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good "
            "python3-gi"
        )
    port = port_to_keep()
    running = []

    def start(*more, password=PASSWORD):
        command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), "viewer", password, *more]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(server)
        assert server.stdout.readline() == "ready\n"
        return server

    yield start, f"rtsp://viewer:{PASSWORD}@127.0.0.1:{port}/stream"
    for server in running:
        server.kill()
        server.wait()
        server.stdout.close()
