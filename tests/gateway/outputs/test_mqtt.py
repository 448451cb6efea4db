"""MQTT against a real broker: what is sent where, and nothing lost when it goes away."""

import json
import threading
import time

import msgspec
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.outputs import MqttConfig
from edge_fiqa.gateway.outputs.homeassistant import discovery
from edge_fiqa.gateway.outputs.mqtt import MqttSink
from edge_fiqa.gateway.outputs.presence import Presence
from tests.gateway.fake_view import FakeView, event, jpeg, record
from tests.gateway.outputs.broker import Broker, Listener
from tests.waiting import until


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker):
    listener = Listener(broker)
    yield listener
    listener.close()


@pytest.fixture
def sink_for(tmp_path):
    opened = []

    def make(port, **more):
        config = MqttConfig(host="127.0.0.1", port=port, spool=tmp_path / "spool", **more)
        opened.append(MqttSink(config))
        return opened[-1]

    yield make
    for sink in opened:
        sink.close(3)


def sequences(listener):
    """Events in the order of their first arrival; the broker may bring one twice."""
    return list(dict.fromkeys(e["sequence"] for e in listener.json("edge-fiqa/events")))


def test_what_is_said_and_where(broker, listener, sink_for):
    sink = sink_for(broker.port, stats_s=1)
    until(lambda: listener.last("edge-fiqa/available") == b"online")
    sink.watch(FakeView())
    sink.publish(event(0), jpeg())
    sink.publish(event(1, "end", reason="left"), None)
    until(lambda: sink.delivered == 2)
    until(lambda: len(listener.json("edge-fiqa/events")) == 2)
    first, last = listener.json("edge-fiqa/events")
    assert (first["type"], last["type"], last["reason"]) == ("new", "end", "left")
    assert first["schema"] == "edge-fiqa-event/1"
    assert first["record"]["quality"]["scalar"] == 73
    assert listener.payloads("edge-fiqa/door/face/snapshot") == [jpeg()]
    until(lambda: json.loads(listener.last("edge-fiqa/door/state") or b"{}").get("quality") == 73)
    assert json.loads(listener.last("edge-fiqa/door/state"))["person"] == "OFF"
    stats = json.loads(until(lambda: listener.last("edge-fiqa/stats")))
    assert stats["totals"]["faces_found"] == 100
    assert [camera["name"] for camera in stats["cameras"]] == ["door", "hall"]
    # The next ones are said after everything was delivered.
    until(lambda: json.loads(listener.last("edge-fiqa/stats"))["mqtt"]["waiting"] == 0)
    assert sink.problem is None
    sink.close(5)
    until(lambda: listener.last("edge-fiqa/available") == b"offline")


def test_a_late_subscriber_finds_state_but_no_faces(broker, sink_for):
    sink = sink_for(broker.port)
    sink.watch(FakeView())
    sink.publish(event(0), jpeg())
    until(lambda: sink.delivered == 1 and sink._announced)
    time.sleep(0.2)
    late = Listener(broker)
    until(lambda: late.last("edge-fiqa/door/state"))
    time.sleep(0.2)
    assert late.last("edge-fiqa/available") == b"online"
    assert late.last("homeassistant/sensor/edge-fiqa_door/quality/config")
    assert late.payloads("edge-fiqa/door/face/snapshot") == []
    late.close()


def test_home_assistant_forgets_a_camera_that_is_gone(broker, listener, sink_for):
    view, topic = FakeView(), "homeassistant/binary_sensor/edge-fiqa_hall/person/config"
    sink = sink_for(broker.port)
    sink.watch(view)
    until(lambda: listener.last(topic))
    view.names = ("door",)
    until(lambda: listener.last(topic) == b"")


def test_nothing_is_lost_while_the_broker_is_down(broker, listener, sink_for):
    sink = sink_for(broker.port)
    for number in range(10):
        sink.publish(event(number), None)
    until(lambda: sink.delivered == 10 and len(sequences(listener)) == 10)
    broker.stop(kill=True)
    until(lambda: sink.problem is not None)
    for number in range(10, 200):
        sink.publish(event(number), None)
    until(lambda: sink.spool.count == 190)
    assert sink.waiting == 190
    broker.start()
    until(lambda: sink.delivered == 200)
    until(lambda: len(sequences(listener)) == 200)
    assert sequences(listener) == list(range(200))
    assert (sink.problem, sink.waiting, sink.dropped) == (None, 0, 0)


def test_a_broker_restarted_again_and_again_gets_every_event(broker, listener, sink_for):
    sink = sink_for(broker.port)
    stop = threading.Event()
    sent = [0]

    def talk():
        while not stop.wait(0.004):
            sink.publish(event(sent[0]), None)
            sent[0] += 1

    talker = threading.Thread(target=talk)
    talker.start()
    for _ in range(3):
        time.sleep(0.7)
        broker.stop()
        time.sleep(0.2)
        broker.start()
    stop.set()
    talker.join()
    until(lambda: sink.waiting == 0, 30)
    until(lambda: len(set(sequences(listener))) == sent[0], 30)
    assert sequences(listener) == list(range(sent[0]))


def test_events_outlive_the_gateway(broker, sink_for):
    """SIGTERM while the broker is down: the next start sends what waited, and first."""
    broker.stop()
    sink = sink_for(broker.port)
    for number in range(30):
        sink.publish(event(number), jpeg())
    started = time.monotonic()
    sink.close(5)
    assert time.monotonic() - started < 4  # nothing to wait for
    broker.start()
    listener = Listener(broker)
    sink = sink_for(broker.port)
    sink.publish(event(30), None)
    until(lambda: len(sequences(listener)) == 31)
    assert sequences(listener) == list(range(31))
    listener.close()


def test_closing_delivers_what_waits(broker, listener, sink_for):
    sink = sink_for(broker.port)
    until(lambda: sink.problem is None)
    for number in range(500):
        sink.publish(event(number), None)
    sink.close(10)
    until(lambda: len(sequences(listener)) == 500)
    assert sink.delivered == 500
    until(lambda: listener.last("edge-fiqa/available") == b"offline")


def test_a_gateway_that_dies_is_offline(broker, listener, sink_for):
    sink = sink_for(broker.port)
    until(lambda: listener.last("edge-fiqa/available") == b"online")
    sink._client._sock_close()  # as if the process were gone: no DISCONNECT is sent
    until(lambda: b"offline" in listener.payloads("edge-fiqa/available"))
    until(lambda: listener.last("edge-fiqa/available") == b"online")  # and it comes back


def test_a_wrong_password_is_a_problem_and_is_not_told(tmp_path, sink_for, monkeypatch):
    (tmp_path / "users").touch()
    broker = Broker(
        tmp_path / "broker", f"allow_anonymous false\npassword_file {tmp_path / 'users'}\n"
    )
    broker.start()
    monkeypatch.setenv("BROKER_PASSWORD", "a secret")
    sink = sink_for(broker.port, username="u", password_env="BROKER_PASSWORD")
    until(lambda: "refuses" in (sink.problem or ""))
    assert sink.problem == "the broker refuses: Not authorized"
    sink.publish(event(0), None)
    until(lambda: sink.spool.count == 1)
    sink.close(3)
    broker.stop()


def test_an_authority_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"mqtt\.ca_file"):
        MqttSink(MqttConfig(host="b", tls=True, ca_file=tmp_path / "ca.pem", spool=tmp_path))


def test_presence_is_told_by_events_alone():
    presence = Presence()
    presence.see(event(0, track="a"))
    presence.see(event(0, track="b", record=record(scalar=90)))
    assert msgspec.to_builtins(presence.of("door")) == {
        "person": "ON",
        "tracks": 2,
        "quality": 90,
        "accepted": True,
        "time": 1_700_000_000.0,
    }
    presence.see(event(1, "end", track="a", record=None))
    presence.see(event(1, "end", track="a", record=None))  # twice does not matter
    assert (presence.of("door").tracks, presence.of("door").quality) == (1, 90)
    presence.see(event(2, "end", track="b", record=record(code="timeout")))
    assert (presence.of("door").person, presence.of("door").quality) == ("OFF", 90)
    assert presence.of("hall").person == "OFF"


def test_discovery_says_where_to_look():
    entities = discovery("homeassistant", "site/a", "Tür 1", snapshots=True)
    assert len(entities) == 3
    assert len({entity["unique_id"] for entity in entities.values()}) == 3
    for topic, entity in entities.items():
        root, kind, *_, end = topic.split("/")
        assert (root, end) == ("homeassistant", "config")
        assert entity["availability_topic"] == "site/a/available"
        assert entity["device"]["name"] == "Tür 1"
        assert kind in ("sensor", "binary_sensor", "image")
    assert len(discovery("h", "p", "door", snapshots=False)) == 2
