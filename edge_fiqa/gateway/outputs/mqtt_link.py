"""The connection to an MQTT broker: MQTT 5 where the broker speaks it, else 3.1.1.

MQTT 5 says what 3.1.1 does not: that a message was refused, how large a message may be, how many may
be on their way, and why a connection ends (OASIS MQTT 5.0, 2.4, 3.2.2.3, 3.4.2.1, 3.14.2.1).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import no_descriptors
from edge_fiqa.gateway.config.outputs import MqttConfig

log = logging.getLogger(__name__)

INFLIGHT = 256
"""Most messages on their way, if the broker does not name fewer."""
LONGEST_RECONNECT_S = 30
GOODBYE_S = 1.0
SILENT_ENDS = 2
"""Connections that a broker ends without an answer, before the other version of MQTT is tried."""
TAKEN_OVER_S = 60.0
"""For so long the problem stays that another client has the same id: they throw each other out."""
SHORT_S, SHORT_ENDS = 10.0, 3
"""Not every broker says so. Several connections in a row that end within seconds look like it."""
TOPIC_BYTES = 16
"""What a message takes beside its topic and payload, at most."""
VERSIONS = {MQTTProtocolVersion.MQTTv5: "5", MQTTProtocolVersion.MQTTv311: "3.1.1"}


@dataclass(frozen=True)
class Answer:
    """What the broker says to a message. refusal: why it did not take it; None: it took it."""

    message: int
    refusal: str | None


class MqttLink:
    """Connects by itself, again after every failure, and says so in the log. For one thread.

    on_change: called from other threads when there is something new to ask.
    connections: so many times the link was connected.
    most_bytes: of a message, topic and payload; None: the broker names no limit.
    Raises ConfigError for a password or authority that cannot be used.
    """

    def __init__(self, config: MqttConfig, client_id: str, on_change: Callable[[], None]) -> None:
        self.config, self.client_id, self._on_change = config, client_id, on_change
        self.connected, self.connections = False, 0
        self.most_bytes: int | None = None
        self._most_inflight = INFLIGHT
        self._inflight: set[int] = set()
        self._answers: deque[Answer] = deque()
        self._problem = "connecting to the broker"
        self._taken_over: tuple[float, str] | None = None  # when, and what that looks like
        self._short_ends, self._connected_at = 0, 0.0
        self._refused = False  # a message of this connection; some brokers then end it
        self._version = MQTTProtocolVersion.MQTTv5
        self._wanted = self._version
        self._spoken: MQTTProtocolVersion | None = None  # by the broker, when it last answered
        self._silent_ends = 0
        self._closing = False
        self._client = self._make_client()
        self._connect()

    @property
    def problem(self) -> str | None:
        if self._taken_over is not None and time.monotonic() - self._taken_over[0] < TAKEN_OVER_S:
            return self._taken_over[1]
        return None if self.connected else self._problem

    @property
    def room(self) -> int:
        """How many messages may be sent now."""
        return max(0, self._most_inflight - len(self._inflight)) if self.connected else 0

    def fits(self, topic: str, payload: bytes) -> bool:
        size = len(topic.encode()) + len(payload) + TOPIC_BYTES
        return self.most_bytes is None or size <= self.most_bytes

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """The message's number, which its answer carries; QoS 0 has none."""
        message = self._client.publish(topic, payload, qos=qos, retain=retain)
        if qos and message.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            self._inflight.add(message.mid)
        return message.mid

    def answers(self) -> list[Answer]:
        """What came since the last call."""
        came = [self._answers.popleft() for _ in range(len(self._answers))]
        self._inflight.difference_update(answer.message for answer in came)
        return came

    def follow_version(self) -> bool:
        """Go on with the other version of MQTT if the broker wants it: then nothing is on its way."""
        if self._wanted is self._version:
            return False
        self._client.disconnect()
        self._client.loop_stop()
        self._version, self._silent_ends = self._wanted, 0
        self._inflight.clear()
        self._answers.clear()
        self._client = self._make_client()
        self._connect()
        return True

    def close(self, topic: str, payload: bytes) -> None:
        """Send this as the last message, retained."""
        self._closing = True
        if self.connected:
            goodbye = self._client.publish(topic, payload, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the connection was just lost
                goodbye.wait_for_publish(GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        self._client.connect_async(*self.config.address(), keepalive=30)
        self._client.loop_start()

    def _make_client(self) -> Client:
        config = self.config
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=self._version,
            transport="tcp" if config.websocket is None else "websockets",
        )
        if config.websocket is not None:
            client.ws_set_options(path=config.websocket)
        if config.username is not None:
            client.username_pw_set(config.username, config.password())
        if config.tls:
            try:
                client.tls_set(
                    ca_certs=_text(config.ca_file),
                    certfile=_text(config.cert_file),
                    keyfile=_text(config.key_file),
                )
            except (OSError, ValueError) as exc:  # SSLError is an OSError
                raise ConfigError(f"mqtt.ca_file, cert_file, key_file: {exc}") from exc
        client.will_set(f"{config.prefix}/available", "offline", qos=1, retain=True)
        client.max_inflight_messages_set(INFLIGHT)
        client.reconnect_delay_set(1, LONGEST_RECONNECT_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    # The client's thread. It holds the client's locks, so that nothing is sent from here.

    def _on_connect(
        self,
        client: Client,
        data: Any,
        flags: ConnectFlags,
        code: ReasonCode,
        more: Properties | None,
    ) -> None:
        self._silent_ends = 0
        if str(code) == "Unsupported protocol version":
            self._try_other_version()
        elif code.is_failure:
            credentials = str(code) in ("Not authorized", "Bad user name or password")
            remedy = "; look at mqtt.username and its password" if credentials else ""
            self._fails(f"the broker refuses: {code}{remedy}")
        else:
            self.most_bytes = getattr(more, "MaximumPacketSize", None)
            self._most_inflight = min(INFLIGHT, getattr(more, "ReceiveMaximum", INFLIGHT))
            self.connections += 1
            self.connected = True
            self._spoken = self._version
            self._say_connected()
        self._on_change()

    def _say_connected(self) -> None:
        self._connected_at, self._refused = time.monotonic(), False
        if self.problem is not None:
            return
        log.info("mqtt: connected to the broker, MQTT %s", VERSIONS[self._version])
        if self._version is MQTTProtocolVersion.MQTTv311:
            log.warning("mqtt: MQTT 3.1.1 does not say when the broker refuses an event (ACL)")
        self._problem = ""

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        self._fails(no_descriptors() or _cause(sys.exc_info()[1], self.config))

    def _on_disconnect(
        self,
        client: Client,
        data: Any,
        flags: DisconnectFlags,
        code: ReasonCode,
        more: Properties | None,
    ) -> None:
        was_connected, self.connected = self.connected, False
        if self._closing:
            return
        if was_connected:
            said = f" ({code})" if flags.is_disconnect_packet_from_server else ""
            if not self._is_taken_over(str(code)):
                self._fails(f"the connection to the broker is lost{said}")
        else:
            self._silent_ends += 1
            # What stands before a broker ends connections as well, while the broker is away.
            if self._silent_ends >= SILENT_ENDS and self._spoken is not self._version:
                self._try_other_version()
        self._on_change()

    def _on_publish(
        self, client: Client, data: Any, mid: int, code: ReasonCode, more: Properties
    ) -> None:
        self._refused = self._refused or code.is_failure
        self._answers.append(Answer(mid, str(code) if code.is_failure else None))
        self._on_change()

    def _is_taken_over(self, code: str) -> bool:
        """Whether the connection ended since another client has the same id; says so once."""
        short = time.monotonic() - self._connected_at < SHORT_S and not self._refused
        self._short_ends = self._short_ends + 1 if short else 0
        named = code == "Session taken over"
        if not named and self._short_ends < SHORT_ENDS:
            return False
        beginning = "another client" if named else "connections end within seconds; perhaps another"
        problem = f"{beginning} has the id {self.client_id}: give each its own mqtt.client_id"
        if self.problem != problem:
            log.warning("mqtt: %s", problem)
        self._taken_over = time.monotonic(), problem
        return True

    def _try_other_version(self) -> None:
        (self._wanted,) = (version for version in VERSIONS if version is not self._version)
        self._on_change()

    def _fails(self, problem: str) -> None:
        if problem != self._problem or self.problem is None:
            log.warning("mqtt: %s; trying again", problem)
        self._problem = problem


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _cause(exc: BaseException | None, config: MqttConfig) -> str:
    """Why there is no connection, in words."""
    port = config.address()[1]
    if isinstance(exc, socket.gaierror):
        return "the broker's host name is not known"
    if isinstance(exc, ConnectionRefusedError):
        return f"the broker's machine answers, and nothing listens at port {port}"
    if isinstance(exc, TimeoutError):
        return "the broker does not answer"
    if isinstance(exc, ssl.SSLError):
        why = getattr(exc, "verify_message", "") or getattr(exc, "reason", "") or "no reason given"
        return f"TLS with the broker fails: {why}"
    if config.tls and isinstance(exc, ConnectionResetError):
        return f"the broker ends the connection: is port {port} one for TLS?"
    reason = exc.strerror if isinstance(exc, OSError) else None
    return f"the broker cannot be reached{f': {reason}' if reason else ''}"
