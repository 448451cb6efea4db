"""The broker is away, the gateway is stopped, both come back: the broker gets every event, in order."""

import json
import signal
import subprocess
import sys
import time

import cv2
import matplotlib
import numpy as np
import pytest

from tests.gateway.outputs.broker import Broker, Listener
from tests.waiting import until


@pytest.mark.slow
def test_events_of_a_gateway_stopped_without_its_broker_arrive_later(tmp_path, shared):
    portrait = cv2.imread(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg")
    portrait = cv2.resize(portrait, (256, 300))
    form = cv2.VideoWriter.fourcc(*"MJPG")
    video = cv2.VideoWriter(str(tmp_path / "a.avi"), form, 10, (640, 360))
    for number in range(150):
        frame = np.full((360, 640, 3), 128, np.uint8)
        frame[30:330, 2 * number : 2 * number + 256] = portrait
        video.write(frame)
    video.release()
    broker = Broker(tmp_path / "broker")
    broker.start()
    listener = Listener(broker, "edge-fiqa/#")
    broker.stop()
    events = tmp_path / "events.ndjson"
    mqtt = f"mqtt: {{host: 127.0.0.1, port: {broker.port}, spool: {tmp_path}/spool}}\n"
    cameras = (
        f"detector: {shared}/data/models/yunet_n_640_640.onnx\ncameras: {{a: {tmp_path}/a.avi}}\n"
    )

    with running(tmp_path, f"{cameras}{mqtt}file: {{path: {events}}}\n") as process:
        until(lambda: events.exists() and events.read_text(encoding="utf-8"), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
    written = [json.loads(line)["id"] for line in events.read_text(encoding="utf-8").splitlines()]
    assert len(written) >= 2  # at least a new and its end
    assert listener.json("edge-fiqa/events") == []

    broker.start()
    with running(tmp_path, f"{mqtt}http: {{port: 0}}\n") as process:
        until(lambda: len(listener.json("edge-fiqa/events")) >= len(written), 60)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
    heard = listener.json("edge-fiqa/events")
    assert list(dict.fromkeys(event["id"] for event in heard)) == written
    assert (heard[0]["type"], heard[-1]["type"]) == ("new", "end")
    until(lambda: listener.last("edge-fiqa/available") == b"offline")
    listener.close()
    broker.stop()


class running:  # noqa: N801, reads as what it is
    """A gateway of this configuration, killed at the end if it still runs."""

    def __init__(self, folder, text):
        (folder / "gateway.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "edge_fiqa", "gateway", str(folder / "gateway.yaml")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self.process

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
