"""What a broker says of itself and of what it is sent: refusals, limits, versions, why a link ends."""

import json
import logging
import socket
import ssl
import struct
import subprocess
import threading

import cv2
import numpy as np
import pytest

from edge_fiqa.gateway.config.outputs import MqttConfig
from edge_fiqa.gateway.outputs import mqtt, mqtt_link, retained
from tests.gateway.fake_view import FakeView, event, jpeg
from tests.gateway.outputs.broker import Broker, Listener
from tests.needs import need
from tests.ports import port_to_keep
from tests.waiting import until


@pytest.fixture
def broker_with(tmp_path):
    """A broker with more lines in its configuration."""
    brokers = []

    def start(lines):
        brokers.append(Broker(tmp_path / f"broker{len(brokers)}", lines))
        brokers[-1].start()
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()


def acl(tmp_path, *lines):
    (tmp_path / "acl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "acl").chmod(0o644)
    return f"allow_anonymous true\nacl_file {tmp_path / 'acl'}\n"


def test_events_that_an_acl_denies_wait_and_are_the_problem(
    tmp_path, broker_with, sink_for, monkeypatch, caplog
):
    monkeypatch.setattr(mqtt, "REFUSED_S", 0.5)
    broker = broker_with(acl(tmp_path, "topic read #", "topic write edge-fiqa/available"))
    sink = sink_for(broker.port)
    for number in range(5):
        sink.publish(event(number), None)
    until(lambda: sink.problem == "the broker refuses edge-fiqa/events: Not authorized")
    assert (sink.delivered, sink.waiting, sink.spool.count) == (0, 5, 5)
    assert "look at the broker's ACL" in caplog.text
    acl(tmp_path, "topic readwrite #")
    listener = Listener(broker)
    broker.process.send_signal(1)  # SIGHUP: it reads its ACL again
    until(lambda: sink.delivered == 5)
    until(lambda: sink.problem is None)
    until(lambda: len(listener.json("edge-fiqa/events")) >= 5)
    assert list(dict.fromkeys(e["sequence"] for e in listener.json("edge-fiqa/events"))) == [
        *range(5)
    ]
    listener.close()


def test_a_refused_event_is_there_after_a_restart(tmp_path, broker_with, sink_for):
    broker = broker_with(acl(tmp_path, "topic read #"))
    sink = sink_for(broker.port)
    sink.publish(event(0), None)
    until(lambda: "refuses" in (sink.problem or ""))
    sink.close(5)
    again = sink_for(broker.port)
    assert again.waiting == 1


def test_an_acl_that_denies_a_group_of_topics_does_not_cut_the_link_for_each(
    tmp_path, broker_with, sink_for
):
    """This broker ends the connection after every message that it refuses."""
    broker = broker_with(acl(tmp_path, "topic write edge-fiqa/#"))
    sink = sink_for(broker.port)
    names = tuple(f"camera{number}" for number in range(16))
    sink.watch(FakeView(names=names))
    until(lambda: "homeassistant" in (sink.problem or ""))
    until(lambda: sink.problem and "refuses" in sink.problem)
    sink.publish(event(0), None)
    until(lambda: sink.delivered == 1)
    assert sink.link.connections <= 3


def test_a_state_that_an_acl_denies_is_named(tmp_path, broker_with, sink_for, monkeypatch):
    monkeypatch.setattr(retained, "REFUSED_S", 0.3)
    broker = broker_with(acl(tmp_path, "topic write edge-fiqa/#"))
    sink = sink_for(broker.port)
    sink.watch(FakeView())
    until(lambda: (sink.problem or "").startswith("homeassistant/"))
    assert sink.problem.endswith("the broker refuses it: Not authorized")
    acl(tmp_path, "topic readwrite #")
    broker.process.send_signal(1)
    until(lambda: sink.problem is None)


def test_two_gateways_with_one_id_are_named(broker, sink_for, tmp_path):
    first = sink_for(broker.port, client_id="box")
    until(lambda: first.problem is None)
    other = mqtt.MqttSink(first.config.model_copy(update={"spool": tmp_path / "other"}))
    says = "another has the id box: give each its own mqtt.client_id"  # this broker gives no reason
    until(lambda: says in (first.problem or "") and says in (other.problem or ""))
    other.close(3)


def test_a_broker_that_says_why_it_throws_out(sink_for):
    broker = OldBroker("says why")
    broker.start()
    sink = sink_for(broker.port, client_id="box")
    until(lambda: sink.problem == "another client has the id box: give each its own mqtt.client_id")
    sink.close(3)
    broker.listening.close()


def test_ids_by_default_do_not_clash_and_stay(broker, sink_for, tmp_path):
    first = sink_for(broker.port)
    other = mqtt.MqttSink(first.config.model_copy(update={"spool": tmp_path / "other"}))
    assert first.link.client_id != other.link.client_id
    until(lambda: first.problem is None and other.problem is None)
    other.close(3)
    first.close(3)
    assert sink_for(broker.port).link.client_id == first.link.client_id


def picture(side):
    """Noise, which JPEG hardly makes smaller."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side // 2, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def shape_of(jpeg_bytes):
    return cv2.imdecode(np.frombuffer(jpeg_bytes, np.uint8), cv2.IMREAD_COLOR).shape[:2]


@pytest.mark.parametrize(
    ("max_packet", "snapshot_px", "sent"), [(None, 640, 640), (None, 320, 320), (12_000, 640, 160)]
)
def test_snapshots_are_as_large_as_allowed(broker_with, sink_for, max_packet, snapshot_px, sent):
    limit = f"max_packet_size {max_packet}\n" if max_packet else ""
    broker = broker_with(f"allow_anonymous true\n{limit}")
    listener = Listener(broker)
    sink = sink_for(broker.port, snapshot_px=snapshot_px)
    until(lambda: sink.problem is None)
    sink.publish(event(0), picture(900))
    got = until(lambda: listener.last("edge-fiqa/door/face/snapshot"))
    assert shape_of(got) == (sent, sent // 2)
    small = jpeg(112, 112)
    sink.publish(event(1), small)
    until(lambda: listener.last("edge-fiqa/door/face/snapshot") == small)  # as it was
    until(lambda: sink.delivered == 2)
    assert b"offline" not in listener.payloads("edge-fiqa/available")
    assert sink.link.connections == 1
    listener.close()


def test_what_no_reduction_makes_small_enough_is_said_once(broker_with, sink_for, caplog):
    broker = broker_with("allow_anonymous true\nmax_packet_size 900\n")
    sink = sink_for(broker.port)
    until(lambda: sink.problem is None)
    for number in range(3):
        sink.publish(event(number), picture(900))
    until(lambda: sink.delivered == 3)
    said = [r.message for r in caplog.records if "a snapshot of" in r.message]
    assert len(said) == 1
    assert said[0].endswith("is skipped: the broker takes 900")
    assert sink.link.connections == 1


def test_an_event_larger_than_the_broker_takes_holds_up_no_other(broker_with, sink_for, caplog):
    broker = broker_with("allow_anonymous true\nmax_packet_size 1500\n")
    sink = sink_for(broker.port)
    sink.publish(event(0, camera="x" * 2000), None)
    sink.publish(event(1), None)
    until(lambda: sink.delivered == 1)
    assert (sink.dropped, sink.waiting, sink.link.connections) == (1, 0, 1)
    assert "an event of" in caplog.text


class OldBroker(threading.Thread):
    """Speaks MQTT 3.1.1 alone.

    to_others: "refused", "silent" (their connection is closed without an answer), or "says why":
    they are connected, and thrown out since another has their id.
    """

    def __init__(self, to_others):
        super().__init__(daemon=True)
        self.to_others, self.events = to_others, []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]

    def run(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                while self._answer(connection, stream):
                    pass

    def _answer(self, connection, stream):
        head = stream.read(1)
        length, shift = 0, 0
        while head:
            digit = stream.read(1)[0]
            length, shift = length | (digit & 127) << shift, shift + 7
            if digit < 128:
                break
        body = stream.read(length) if head else b""
        if not head:
            return False
        kind = head[0] >> 4
        if kind == 1:
            answers = {"refused": "20020001", "says why": "2003000000 e0028e00", "silent": ""}
            supported = body[6] == 4
            connection.sendall(bytes.fromhex("20020000" if supported else answers[self.to_others]))
            return supported
        if kind == 3 and head[0] & 6:
            end = 2 + struct.unpack("!H", body[:2])[0]
            if body[2:end] == b"edge-fiqa/events":
                self.events.append(json.loads(body[end + 2 :])["sequence"])
            connection.sendall(bytes([0x40, 2]) + body[end : end + 2])
        return kind != 14


@pytest.mark.parametrize("to_others", ["refused", "silent"])
def test_a_broker_that_speaks_3_1_1_alone(sink_for, to_others, caplog):
    caplog.set_level(logging.INFO)
    broker = OldBroker(to_others)
    broker.start()
    sink = sink_for(broker.port)
    for number in range(30):
        sink.publish(event(number), None)
    until(lambda: sink.delivered == 30)
    assert broker.events == list(range(30))
    assert sink.problem is None
    assert "connected to the broker, MQTT 3.1.1" in caplog.text
    sink.close(3)
    broker.listening.close()


@pytest.fixture
def free_port():
    return port_to_keep()


def test_a_broker_behind_a_websocket(broker_with, sink_for, free_port):
    lines = f"allow_anonymous true\nlistener {free_port} 127.0.0.1\nprotocol websockets\n"
    listener = Listener(broker_with(lines))
    sink = sink_for(free_port, websocket="/mqtt")
    sink.publish(event(0), jpeg())
    until(lambda: sink.delivered == 1)
    until(lambda: listener.json("edge-fiqa/events"))
    listener.close()


def test_a_broker_that_asks_for_a_certificate(broker_with, sink_for, free_port, tmp_path):
    for name in ("ours", "theirs"):
        subprocess.run(
            [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=IP:127.0.0.1", "-out", tmp_path / f"{name}.pem",
             "-keyout", tmp_path / f"{name}.key"], capture_output=True, check=True,
        )  # fmt: skip
    broker_with(
        f"allow_anonymous true\nlistener {free_port} 127.0.0.1\ncafile {tmp_path}/ours.pem\n"
        f"certfile {tmp_path}/theirs.pem\nkeyfile {tmp_path}/theirs.key\nrequire_certificate true\n"
    )
    sink = sink_for(
        free_port,
        tls=True,
        ca_file=tmp_path / "theirs.pem",
        cert_file=tmp_path / "ours.pem",
        key_file=tmp_path / "ours.key",
    )
    sink.publish(event(0), None)
    until(lambda: sink.delivered == 1)


def test_why_there_is_no_connection(sink_for, tmp_path):
    port = port_to_keep()
    sink = sink_for(port)
    until(
        lambda: sink.problem == f"the broker's machine answers, and nothing listens at port {port}"
    )
    nowhere = mqtt.MqttSink(
        sink.config.model_copy(update={"host": "no-such-host.invalid", "spool": tmp_path / "b"})
    )
    until(lambda: nowhere.problem == "the broker's host name is not known")
    nowhere.close(3)


@pytest.mark.parametrize(
    ("exc", "says"),
    [
        (ssl.SSLError(1, "x"), "TLS with the broker fails: no reason given"),
        (ConnectionResetError(104, "reset"), "ends the connection: is port 8883 one for TLS"),
        (TimeoutError(), "does not answer"),
        (OSError(113, "No route to host"), "cannot be reached: No route to host"),
        (None, "cannot be reached"),
    ],
)
def test_causes_in_words(exc, says):
    assert says in mqtt_link._cause(exc, MqttConfig(host="b", tls=True))


def test_changes_of_the_link_are_in_the_log_once(broker, sink_for, caplog):
    caplog.set_level(logging.INFO, logger=mqtt_link.__name__)
    sink_for(broker.port)
    connected = "mqtt: connected to the broker, MQTT 5"

    def said():
        return [r.message for r in list(caplog.records) if r.name == mqtt_link.__name__]

    until(lambda: said() == [connected])
    broker.stop(kill=True)
    until(lambda: "nothing listens" in said()[-1])
    broker.start()
    until(lambda: said()[-1] == connected)
    lines = said()
    assert lines[1] == "mqtt: the connection to the broker is lost; trying again"
    assert len(lines) == len(set(lines[:-1])) + 1
