"""Events, snapshots and statistics to an MQTT broker; events arrive at least once."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence

import msgspec

from edge_fiqa.gateway.config.outputs import MqttConfig
from edge_fiqa.gateway.events.event import Event, event_to_json
from edge_fiqa.gateway.events.pictures import smaller_jpeg
from edge_fiqa.gateway.outputs.homeassistant import discovery
from edge_fiqa.gateway.outputs.mqtt_link import Answer, MqttLink
from edge_fiqa.gateway.outputs.names import safe_name
from edge_fiqa.gateway.outputs.presence import Presence
from edge_fiqa.gateway.outputs.queued import Item, QueuedSink
from edge_fiqa.gateway.outputs.retained import REFUSED_S, RetainedMessages
from edge_fiqa.gateway.outputs.spool import Spool
from edge_fiqa.gateway.view import CameraView, View

log = logging.getLogger(__name__)

WINDOW = 16
"""Most events sent and not yet acknowledged. The broker gets them twice if the connection breaks."""
SNAPSHOTS = 100  # beyond so many waiting events, snapshots are dropped
SMALLEST_PX = 64  # a snapshot that must be smaller to be taken is skipped
VIEW_EVERY_S = 0.25  # how often the gateway is asked for its cameras, at most
DAMAGED_EVERY_S = 3600.0


class MqttSink(QueuedSink):
    """Every event goes through a spool on disk and leaves it when the broker has acknowledged it.

    Events are sent in order, QoS 1, to `prefix/events`. One that is refused stays, and is the problem.
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
        self._wanted: dict[str, bytes] = {}  # topic -> retained message
        self._kept: set[str] | None = None
        self._names: set[str] = set()
        self._discovered: dict[str, dict[str, bytes]] = {}  # camera -> its discovery
        self._sent: dict[int, int] = {}  # message on its way -> number in the spool
        self._last_sent = 0
        self._delivered: list[int] = []  # numbers that are still in the spool
        self._connection, self._resending = 0, False
        self._refusal: str | None = None
        self._takes_events = False  # until it has taken one, it gets one: some end the connection
        self._next_stats = self._next_damaged = self._next_view = self._again_at = 0.0
        self._oversized = 0
        self._skipped: set[str] = set()
        self.link = MqttLink(config, self._client_id(), self._poke)
        self._retained = RetainedMessages(self.spool, self.link)
        self._start()

    def _client_id(self) -> str:
        """The one stated, or one that no other gateway has."""
        if self.config.client_id is not None:
            return self.config.client_id
        new = f"edge-fiqa-{safe_name(socket.gethostname())[:40]}-{secrets.token_hex(4)}"
        try:
            return self.spool.client_id(new)
        except sqlite3.Error:  # without a disk it is another one after the next start
            return new

    @property
    def problem(self) -> str | None:
        return self._problem or self.link.problem or self._refusal or self._retained.problem

    @property
    def waiting(self) -> int:
        return self._in_memory + self.spool.count

    @property
    def dropped(self) -> int:
        return self._overflowed + self.spool.dropped + self._oversized

    def watch(self, view: View) -> None:
        """Report on this gateway from now on: statistics, and its cameras to Home Assistant."""
        self._view = view
        self._poke()

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        wanted = self.config.snapshots and len(self._queue) < SNAPSHOTS
        super().publish(event, snapshot if wanted else None)

    # The sink's thread.

    def _deliver(self, batch: Sequence[Item]) -> None:
        self.spool.append(event_to_json(event) for event, _ in batch)
        for event, snapshot in batch:
            self._presence.see(event)
            if snapshot is not None and self.link.connected:
                self._send_snapshot(event.camera, snapshot)
        self._next_view = 0.0

    def _idle(self) -> None:
        if self.link.follow_version():
            self._sent.clear()
            self._retained.forget_sent()
            self._last_sent = 0
        self._take_answers()
        if time.monotonic() >= self._next_damaged:
            self.spool.delete_old_damaged()
            self._next_damaged = time.monotonic() + DAMAGED_EVERY_S
        if self.link.connected:
            self._look_at_view()
            self._retained.hold(self._wanted, self._kept)
            self._send_events()
            self._send_stats()
        self._forget_delivered()

    def _idle_every_s(self) -> float:
        return 2 * VIEW_EVERY_S

    def _finished(self) -> bool:
        if self._closing_until is None:
            return False
        sent = not self.spool.count or not self.link.connected or self._refusal is not None
        return (not self._in_memory and sent) or time.monotonic() > self._closing_until

    def _take_answers(self) -> None:
        for answer in self.link.answers():
            number = self._sent.pop(answer.message, None)
            if number is not None:
                self._take_answer(number, answer)
            else:
                self._retained.take(answer)

    def _forget_delivered(self) -> None:
        """After all else: on a full disk it raises, and is tried again."""
        if self._delivered:
            self.spool.remove(self._delivered)
            self.delivered += len(self._delivered)
            self._delivered = []

    def _take_answer(self, number: int, answer: Answer) -> None:
        if answer.refusal is None:
            self._delivered.append(number)
            if self._refusal is not None:
                log.info("mqtt: the broker takes events again")
            self._refusal, self._takes_events = None, True
            return
        self._takes_events = False
        problem = f"the broker refuses {self._events_topic}: {answer.refusal}"
        if problem != self._refusal:
            log.warning("mqtt: %s; events wait in the spool, look at the broker's ACL", problem)
        self._refusal = problem
        self._again_at = time.monotonic() + REFUSED_S
        self._last_sent = min(self._last_sent, number - 1)

    @property
    def _events_topic(self) -> str:
        return f"{self.config.prefix}/events"

    def _send_events(self) -> None:
        """In order: after a broken connection the client first repeats what it had sent."""
        if self._connection != self.link.connections:
            self._connection, self._resending = self.link.connections, True
        waits = self._refusal is not None and time.monotonic() < self._again_at
        if (self._sent and self._resending) or waits:
            return
        self._resending = False
        window = WINDOW if self._takes_events else 1
        room = min(window - len(self._sent), self.link.room)
        for number, payload in self.spool.after(self._last_sent, max(0, room)):
            self._last_sent = number
            if self.link.fits(self._events_topic, payload):
                self._sent[self.link.publish(self._events_topic, payload)] = number
            else:
                self.spool.remove([number])
                self._oversized += 1
                self._say_skipped("an event", len(payload))

    def _look_at_view(self) -> None:
        """What the broker should hold now."""
        self._wanted[f"{self.config.prefix}/available"] = b"online"
        if self._view is None or time.monotonic() < self._next_view:
            return
        self._next_view = time.monotonic() + VIEW_EVERY_S
        cameras = self._view.cameras()
        self._names = {camera.name for camera in cameras}
        self._wanted = {f"{self.config.prefix}/available": b"online"}
        for camera in cameras:
            self._wanted.update(self._messages_of(self._view, camera))
        keep = self.config.snapshots and self.config.retain_snapshots
        self._kept = {self._snapshot_topic(name) for name in self._names} if keep else set()

    def _messages_of(self, view: View, camera: CameraView) -> Mapping[str, bytes]:
        topic = self._topic(camera.name)
        state = self._presence.of(camera.name, camera.people)
        return {
            **self._discovery_of(camera.name, bool(view.causes)),
            f"{topic}/available": b"online" if camera.state == "live" else b"offline",
            f"{topic}/state": msgspec.json.encode(state),
        }

    def _discovery_of(self, camera: str, instructions: bool) -> Mapping[str, bytes]:
        root, snapshots = self.config.discovery, self.config.snapshots
        if root is None:
            return {}
        if camera not in self._discovered:
            entities = discovery(
                root,
                self.config.prefix,
                camera,
                snapshots=snapshots,
                instructions=instructions,
            )
            self._discovered[camera] = {
                topic: json.dumps(entity).encode() for topic, entity in entities.items()
            }
        return self._discovered[camera]

    def _send_snapshot(self, camera: str, snapshot: bytes) -> None:
        """As large as the configuration and the broker allow."""
        retain = self.config.retain_snapshots
        if retain and camera not in self._names:
            return  # it was removed, and its topic may be empty already
        topic, longest = self._snapshot_topic(camera), self.config.snapshot_px
        picture = smaller_jpeg(snapshot, longest)
        while picture is not None and not self.link.fits(topic, picture):
            longest //= 2
            if longest < SMALLEST_PX:
                self._say_skipped("a snapshot", len(picture))
                return
            picture = smaller_jpeg(snapshot, longest)
        if picture is not None:
            self.link.publish(topic, picture, qos=0, retain=retain)

    def _send_stats(self) -> None:
        if self._view is None or time.monotonic() < self._next_stats:
            return
        self._next_stats = time.monotonic() + self.config.stats_s
        stats = {
            "totals": self._view.totals(),
            "cameras": self._view.cameras(),
            "mqtt": {
                "delivered": self.delivered,
                "dropped": self.dropped,
                "waiting": self.waiting,
            },
        }
        topic, payload = f"{self.config.prefix}/stats", msgspec.json.encode(stats)
        if self.link.fits(topic, payload):
            self.link.publish(topic, payload, qos=0)
        else:
            self._say_skipped("the statistics", len(payload))

    def _say_skipped(self, what: str, size: int) -> None:
        """Once for each kind."""
        if what not in self._skipped:
            self._skipped.add(what)
            most = self.link.most_bytes
            log.warning("mqtt: %s of %d bytes is skipped: the broker takes %s", what, size, most)

    def _topic(self, camera: str) -> str:
        return f"{self.config.prefix}/{safe_name(camera)}"

    def _snapshot_topic(self, camera: str) -> str:
        return f"{self._topic(camera)}/face/snapshot"

    def _finish(self) -> None:
        self.link.close(f"{self.config.prefix}/available", b"offline")
        self.spool.close()
