"""A real Mosquitto on a free loopback port that tests may stop, kill and start again."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.needs import need
from tests.ports import port_to_keep
from tests.waiting import until


class Broker:
    """Keeps sessions and retained messages on disk, so that a subscriber misses nothing either."""

    def __init__(self, folder, more=""):
        self._program = need("mosquitto")
        self.port = port_to_keep()
        folder.mkdir()
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {folder}/\n"
            "autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0\n"
            + ("user root\n" if os.geteuid() == 0 else "")  # else it could not enter the folder
            + (more or "allow_anonymous true\n")
        )
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [self._program, "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens)

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, *, kill=False):
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(60)
            self.process = None


class Listener:
    """Remembers every message of a broker, across its restarts.

    lasting: the broker keeps for it what it missed, and sends again what it did not acknowledge.
    """

    def __init__(self, broker, topics="#", lasting=True):
        self.messages = []
        self.ready = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"listener-{topics}" if lasting else "",
            clean_session=not lasting,
        )
        self.client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda client, data, message: self.messages.append(message)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert self.ready.wait(60)

    def payloads(self, topic):
        return [message.payload for message in self.messages if message.topic == topic]

    def json(self, topic):
        return [json.loads(payload) for payload in self.payloads(topic)]

    def last(self, topic):
        payloads = self.payloads(topic)
        return payloads[-1] if payloads else None

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
