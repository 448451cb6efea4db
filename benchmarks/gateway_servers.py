"""The programs around the gateway while it is measured: an RTSP camera, a broker, a subscriber."""

import atexit
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Process:
    """A server that prints `ready`, and can be killed and started again."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Broker:
    """Mosquitto that keeps sessions on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port, self.config = free_port(), folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            "max_queued_messages 0\n" + ("user root\n" if os.geteuid() == 0 else "")
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["mosquitto", "-c", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.process.kill)
        time.sleep(1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Listener:
    """Subscribes to events, and comes back when the broker does."""

    def __init__(self, port: int) -> None:
        self.events: list[dict] = []
        ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self.client.on_connect = lambda client, *_: client.subscribe("edge-fiqa/events", qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda *a: self.events.append(json.loads(a[2].payload))
        self.client.reconnect_delay_set(1, 2)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
