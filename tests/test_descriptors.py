"""A process that can open nothing more says that, and not that a file is bad or nobody answers."""

import subprocess
import sys

import pytest

EXHAUST = """
import os, resource, sys
def exhaust():
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass
def say(action):
    exhaust()
    try:
        action()
    except Exception as exc:
        print(exc)
"""
DETECTOR = "from edge_fiqa.faces.detector import YuNet; say(lambda: YuNet(sys.argv[1]))"
PICTURE = """
from edge_fiqa.faces.images import decode_bytes
say(lambda: decode_bytes(b"GIF89a", "a.gif"))  # Pillow is not loaded yet, and cannot be
"""
FILE = "from edge_fiqa.faces.images import decode; say(lambda: decode(sys.argv[1]))"
CAMERA = """
from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.video.capture import open_capture
config = CameraConfig.model_validate({"source": sys.argv[1]})
say(lambda: open_capture(config))
"""
STREAM = CAMERA.replace("sys.argv[1]", "'rtsp://127.0.0.1:9/x'")
SPOOL = """
from pathlib import Path
from edge_fiqa.gateway.outputs.spool import Spool
say(lambda: Spool(Path(sys.argv[1] + ".spool"), 1000))
"""
COMMAND = """
from edge_fiqa.cli import main, info
import edge_fiqa.bundle.bundle
exhaust()
main(["info", "nano"])
"""


@pytest.mark.parametrize(
    "code", [DETECTOR, PICTURE, FILE, CAMERA, STREAM, SPOOL, COMMAND],
    ids=["detector", "picture", "file", "video", "stream", "spool", "command"],
)  # fmt: skip
def test_it_is_named(code, tmp_path):
    file = tmp_path / "a.avi"
    file.write_bytes(b"x" * 100)
    run = subprocess.run(
        [sys.executable, "-c", EXHAUST + code, str(file)], capture_output=True, text=True
    )
    said = run.stdout + run.stderr
    assert "Too many open files" in said
    assert "Traceback" not in said
    for wrong in (
        "not a YuNet",
        "not a video",
        "no answer",
        "damaged",
        "another gateway",
        "no manif",
    ):
        assert wrong not in said
