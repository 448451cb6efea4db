"""Events, snapshots and statistics to an MQTT broker; events arrive at least once."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import no_descriptors
from edge_fiqa.gateway.config.outputs import MqttConfig
from edge_fiqa.gateway.events.event import Event, event_to_json
from edge_fiqa.gateway.outputs.homeassistant import discovery
from edge_fiqa.gateway.outputs.names import safe_name
from edge_fiqa.gateway.outputs.presence import Presence
from edge_fiqa.gateway.outputs.queued import Item, QueuedSink
from edge_fiqa.gateway.outputs.spool import Spool
from edge_fiqa.gateway.view import View

WINDOW = 16
"""Most events sent and not yet acknowledged. The broker gets them twice if the connection breaks."""
INFLIGHT = 256  # of the client: the window and the retained messages beside it
SNAPSHOTS = 100  # beyond so many waiting events, snapshots are dropped
LONGEST_RECONNECT_S = 30
GOODBYE_S = 1.0
DAMAGED_EVERY_S = 3600.0


class MqttSink(QueuedSink):
    """Every event goes through a spool on disk and leaves it when the broker has acknowledged it.

    Events are sent in order, QoS 1, to `prefix/events`.
    Snapshots and statistics are sent while there is a connection and are not kept.
    State, availability and discovery are retained.
    Raises ConfigError for a spool, password or authority that cannot be used.
    A broker that cannot be reached is a problem, not an error.
    """

    def __init__(self, config: MqttConfig) -> None:
        super().__init__("mqtt")
        self.config = config
        self.spool = Spool(config.spool / "mqtt.sqlite", int(config.spool_mb * 1e6))
        self._presence = Presence()
        self._view: View | None = None
        self._sent: dict[int, int] = {}  # message id of the client -> number in the spool
        self._last_sent = 0
        self._acknowledged: deque[int] = deque()
        self._delivered: list[int] = []  # numbers that are still in the spool
        self._connected = self._resending = self._announced = False
        self._discovered: set[str] = set()
        self._next_stats = self._next_damaged = 0.0
        self._connection_problem = "connecting to the broker"
        self._client = self._make_client()
        self._client.connect_async(*config.address(), keepalive=30)
        self._client.loop_start()
        self._start()

    def _make_client(self) -> Client:
        config = self.config
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id or f"edge-fiqa-{safe_name(socket.gethostname())}",
        )
        if config.username is not None:
            client.username_pw_set(config.username, config.password())
        if config.tls:
            try:
                client.tls_set(ca_certs=None if config.ca_file is None else str(config.ca_file))
            except (OSError, ValueError) as exc:
                raise ConfigError(f"mqtt.ca_file: {config.ca_file}: {exc}") from exc
        client.will_set(f"{config.prefix}/available", "offline", qos=1, retain=True)
        client.max_inflight_messages_set(INFLIGHT)
        client.reconnect_delay_set(1, LONGEST_RECONNECT_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    @property
    def problem(self) -> str | None:
        return self._problem or (None if self._connected else self._connection_problem)

    @property
    def waiting(self) -> int:
        return self._in_memory + self.spool.count

    @property
    def dropped(self) -> int:
        return self._overflowed + self.spool.dropped

    def watch(self, view: View) -> None:
        """Report on this gateway from now on: statistics, and its cameras to Home Assistant."""
        self._view = view
        self._poke()

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        wanted = self.config.snapshots and len(self._queue) < SNAPSHOTS
        super().publish(event, snapshot if wanted else None)

    # The client's thread. It holds the client's locks, so that nothing is sent from here.

    def _on_connect(
        self,
        client: Client,
        data: Any,
        flags: ConnectFlags,
        code: ReasonCode,
        more: Properties | None,
    ) -> None:
        if code.is_failure:
            self._connection_problem = f"the broker refuses: {code}"
            return
        self._connected = self._resending = True
        self._announced = False
        self._poke()

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        self._connection_problem = no_descriptors() or "the broker cannot be reached"

    def _on_disconnect(
        self,
        client: Client,
        data: Any,
        flags: DisconnectFlags,
        code: ReasonCode,
        more: Properties | None,
    ) -> None:
        if self._connected:
            self._connection_problem = "the connection to the broker is lost"
        self._connected = False

    def _on_publish(
        self, client: Client, data: Any, mid: int, code: ReasonCode, more: Properties
    ) -> None:
        self._acknowledged.append(mid)
        self._poke()

    # The sink's thread.

    def _deliver(self, batch: Sequence[Item]) -> None:
        self.spool.append(event_to_json(event) for event, _ in batch)
        for event, snapshot in batch:
            self._presence.see(event)
            if snapshot is not None and self._connected:
                topic = f"{self._topic(event.camera)}/face/snapshot"
                self._client.publish(topic, snapshot, retain=self.config.retain_snapshots)
        if self._announced:
            for camera in {event.camera for event, _ in batch}:
                self._send_state(camera)

    def _idle(self) -> None:
        self._forget_acknowledged()
        if time.monotonic() >= self._next_damaged:
            self.spool.delete_old_damaged()
            self._next_damaged = time.monotonic() + DAMAGED_EVERY_S
        if self._connected:
            self._announce()
            self._send_events()
            self._send_stats()

    def _idle_every_s(self) -> float:
        return min(1.0, self.config.stats_s)

    def _finished(self) -> bool:
        if self._closing_until is None:
            return False
        done = not self._in_memory and (not self.spool.count or not self._connected)
        return done or time.monotonic() > self._closing_until

    def _forget_acknowledged(self) -> None:
        while self._acknowledged:
            number = self._sent.pop(self._acknowledged.popleft(), None)
            if number is not None:
                self._delivered.append(number)
        if self._delivered:
            self.spool.remove(self._delivered)  # on a full disk it fails, and is tried again
            self.delivered += len(self._delivered)
            self._delivered = []

    def _send_events(self) -> None:
        """In order: after a broken connection the client first repeats what it had sent."""
        if self._resending and self._sent:
            return
        self._resending = False
        for number, payload in self.spool.after(self._last_sent, WINDOW - len(self._sent)):
            message = self._client.publish(f"{self.config.prefix}/events", payload, qos=1)
            if message.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                return
            self._sent[message.mid] = number
            self._last_sent = number

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._discovered.clear()
            self._send_retained(f"{self.config.prefix}/available", b"online")
        if self._view is None:
            return
        cameras = {camera.name for camera in self._view.cameras()}
        for camera in cameras - self._discovered:
            self._discover(camera, present=True)
            self._send_state(camera)
        for camera in self._discovered - cameras:
            self._discover(camera, present=False)
        self._discovered = cameras

    def _discover(self, camera: str, *, present: bool) -> None:
        root = self.config.discovery
        if root is not None:
            entities = discovery(root, self.config.prefix, camera, snapshots=self.config.snapshots)
            for topic, entity in entities.items():
                self._send_retained(topic, json.dumps(entity).encode() if present else b"")

    def _send_state(self, camera: str) -> None:
        state = msgspec.json.encode(self._presence.of(camera))
        self._send_retained(f"{self._topic(camera)}/state", state)

    def _send_stats(self) -> None:
        if self._view is not None and time.monotonic() >= self._next_stats:
            stats = {
                "totals": self._view.totals(),
                "cameras": self._view.cameras(),
                "mqtt": {
                    "delivered": self.delivered,
                    "dropped": self.dropped,
                    "waiting": self.waiting,
                },
            }
            self._client.publish(f"{self.config.prefix}/stats", msgspec.json.encode(stats))
            self._next_stats = time.monotonic() + self.config.stats_s

    def _send_retained(self, topic: str, payload: bytes) -> MQTTMessageInfo:
        return self._client.publish(topic, payload, qos=1, retain=True)

    def _topic(self, camera: str) -> str:
        return f"{self.config.prefix}/{safe_name(camera)}"

    def _finish(self) -> None:
        if self._connected:
            goodbye = self._send_retained(f"{self.config.prefix}/available", b"offline")
            with contextlib.suppress(RuntimeError, ValueError):  # the connection was just lost
                goodbye.wait_for_publish(GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()
        self.spool.close()
