"""MQTT against a real broker: what is sent where, and nothing lost when it goes away."""

import json
import re
import threading
import time

import msgspec
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.outputs import MqttConfig
from edge_fiqa.gateway.outputs.homeassistant import device_id, discovery
from edge_fiqa.gateway.outputs.mqtt import MqttSink
from edge_fiqa.gateway.outputs.presence import Presence
from edge_fiqa.reasons.causes import CAUSES
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.gateway.fake_view import FakeView, event, jpeg, record
from tests.gateway.outputs.broker import Broker, Listener
from tests.waiting import until, until_more


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
    assert json.loads(listener.last("edge-fiqa/door/state"))["person"] == "ON"  # as the view says
    stats = json.loads(until(lambda: listener.last("edge-fiqa/stats")))
    assert stats["totals"]["faces_found"] == 100
    assert [camera["name"] for camera in stats["cameras"]] == ["door", "hall"]
    # The next ones are said after everything was delivered.
    until(lambda: json.loads(listener.last("edge-fiqa/stats"))["mqtt"]["waiting"] == 0)
    assert sink.problem is None
    sink.close(5)
    until(lambda: listener.last("edge-fiqa/available") == b"offline")


def test_a_late_subscriber_finds_state_but_no_faces(broker, listener, sink_for):
    sink = sink_for(broker.port)
    until(lambda: listener.last("edge-fiqa/available") == b"online")
    sink.watch(FakeView())
    sink.publish(event(0), jpeg())
    retained = [
        "edge-fiqa/available",
        "edge-fiqa/door/state",
        "homeassistant/sensor/edge-fiqa_door/quality/config",
    ]
    until(lambda: all(listener.last(topic) for topic in retained))
    until(lambda: listener.payloads("edge-fiqa/door/face/snapshot"))  # it was there to be kept
    late = Listener(broker)
    until(lambda: all(late.last(topic) for topic in retained))
    assert late.last("edge-fiqa/available") == b"online"
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
        until_more(lambda: sink.delivered, 50)
        broker.stop()
        until_more(lambda: sink.waiting, 10)
        broker.start()
    stop.set()
    talker.join()
    until(lambda: sink.waiting == 0)
    until(lambda: len(set(sequences(listener))) == sent[0])
    assert sequences(listener) == list(range(sent[0]))


def test_events_outlive_the_gateway(broker, sink_for):
    """SIGTERM while the broker is down: the next start sends what waited, and first."""
    broker.stop()
    sink = sink_for(broker.port)
    for number in range(30):
        sink.publish(event(number), jpeg())
    started = time.monotonic()
    sink.close(300)
    assert time.monotonic() - started < 100  # nothing to wait for
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
    sink.link._client._sock_close()  # as if the process were gone: no DISCONNECT is sent
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
    assert sink.problem == (
        "the broker refuses: Not authorized; look at mqtt.username and its password"
    )
    sink.publish(event(0), None)
    until(lambda: sink.spool.count == 1)
    sink.close(3)
    broker.stop()


def test_an_authority_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"mqtt\.ca_file"):
        MqttSink(MqttConfig(host="b", tls=True, ca_file=tmp_path / "ca.pem", spool=tmp_path))


def test_presence_knows_the_last_best_shot_and_is_told_who_is_there():
    presence = Presence()
    presence.see(event(0, track="a"))
    presence.see(event(0, track="b", record=record(scalar=90)))
    assert msgspec.to_builtins(presence.of("door", 2)) == {
        "person": "ON",
        "tracks": 2,
        "quality": 90,
        "accepted": True,
        "instruction": None,
        "time": 1_700_000_000.0,
    }
    presence.see(event(1, "end", track="a", record=None))
    presence.see(event(2, "end", track="b", record=record(code="timeout")))
    assert (presence.of("door", 0).person, presence.of("door", 0).quality) == ("OFF", 90)
    assert (presence.of("hall", 1).person, presence.of("hall", 1).quality) == ("ON", None)


BLURRED = Reasons("hold still", (ReportedCause("motion_blur", "Sharpness", 9),), {})


def blurred(**changes):
    return msgspec.structs.replace(record(accepted=None, **changes), reasons=BLURRED)


@pytest.mark.parametrize(
    ("last", "people", "instruction"),
    [
        (event(0, record=blurred()), 1, "hold still"),
        (event(1, "update", record=blurred()), 2, "hold still"),
        (event(1, record=blurred()), 0, None),  # nobody is there
        (event(1, "end", record=blurred()), 1, None),  # to somebody who has left
        (event(1, record=msgspec.structs.replace(record(), reasons=BLURRED)), 1, None),  # accepted
        (event(1, record=record(accepted=False)), 1, None),
        (event(1, "end", record=None), 1, None),
        (event(1, record=blurred(), camera="hall"), 1, None),
    ],
)
def test_an_instruction_is_for_who_is_there_and_not_accepted(last, people, instruction):
    presence = Presence()
    presence.see(last)
    assert presence.of("door", people).instruction == instruction


def test_an_instruction_ends_with_its_person_and_not_with_another():
    presence = Presence()
    presence.see(event(0, track="a", record=record(20)))
    presence.see(event(0, track="b", record=blurred()))
    presence.see(event(1, "end", track="a", record=record(20)))
    assert presence.of("door", 1).instruction == "hold still"
    presence.see(event(1, "end", track="b", record=blurred()))
    assert presence.of("door", 1).instruction is None


def test_the_last_instruction_is_over_with_the_next_best_shot():
    presence = Presence()
    presence.see(event(0, record=blurred()))
    presence.see(event(1, "update", record=record(90, accepted=None)))
    assert presence.of("door", 1).instruction is None


def test_the_broker_gets_the_instruction_and_home_assistant_a_sensor_of_it(
    broker, listener, sink_for
):
    sink = sink_for(broker.port)
    sink.watch(FakeView(causes=("motion_blur", "yaw")))
    topic = "homeassistant/sensor/edge-fiqa_door/instruction/config"
    entity = json.loads(until(lambda: listener.last(topic)))
    sink.publish(event(0, record=blurred()), None)
    until(
        lambda: (
            json.loads(listener.last("edge-fiqa/door/state") or b"{}").get("instruction")
            == "hold still"
        )
    )
    sent = json.loads(until(lambda: listener.last("edge-fiqa/events")))
    assert sent["record"]["reasons"] == {
        "instruction": "hold still",
        "reported": [{"cause": "motion_blur", "component": "Sharpness", "value": 9}],
        "values": {},
    }
    assert entity["state_topic"] == "edge-fiqa/door/state"


def test_a_model_without_causes_brings_no_sensor_of_instructions():
    without = discovery("homeassistant", "site", "door", snapshots=True)
    with_them = discovery("homeassistant", "site", "door", snapshots=True, instructions=True)
    (topic,) = with_them.keys() - without.keys()
    assert topic == "homeassistant/sensor/site_door/instruction/config"
    entity = with_them[topic]
    instructions = {cause.instruction for cause in CAUSES.values()} - {None}
    assert entity["device_class"] == "enum"
    assert entity["options"][0] == "none"
    assert set(entity["options"]) == instructions | {"none"}
    assert len(entity["options"]) == len(instructions) + 1
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Environment(autoescape=False).from_string(entity["value_template"])
    for state, shown in ((None, "none"), ("hold still", "hold still")):
        assert template.render(value_json={"instruction": state}) == shown
    assert template.render(value_json={}) == "none"  # the retained state of an older version


def test_a_person_who_cannot_be_scored_is_there_and_a_dead_camera_is_no_empty_room(
    broker, listener, sink_for
):
    view = FakeView(people=0)
    sink = sink_for(broker.port)
    sink.watch(view)

    def state():
        return json.loads(listener.last("edge-fiqa/door/state") or b"{}")

    until(lambda: listener.last("edge-fiqa/door/available") == b"online")
    until(lambda: (state().get("person"), state().get("tracks")) == ("OFF", 0))
    until(lambda: listener.last("edge-fiqa/hall/available") == b"offline")  # it is stale
    view.people = 1  # no event tells of them
    until(lambda: (state()["person"], state()["tracks"]) == ("ON", 1))
    view.state = "failed"
    until(lambda: listener.last("edge-fiqa/door/available") == b"offline")
    assert listener.last("edge-fiqa/available") == b"online"


def test_entities_of_a_dead_camera_are_unavailable_but_the_one_that_says_so():
    entities = discovery("homeassistant", "site", "door", snapshots=True).values()
    by_name = {entity["name"]: entity for entity in entities}
    gateway, camera = {"topic": "site/available"}, {"topic": "site/door/available"}
    connected = by_name.pop("Camera connected")
    assert connected["availability"] == [gateway]
    assert (connected["device_class"], connected["state_topic"]) == (
        "connectivity",
        "site/door/available",
    )
    for entity in by_name.values():
        assert entity["availability"] == [gateway, camera]
        assert entity["availability_mode"] == "all"


def test_ids_of_devices_never_collide():
    prefixes = ["a", "a_b", "a/b", "a-b", "a_b_c", "a/b_c", "a_b/c", "b"]
    cameras = ["c", "b_c", "b-c", "a_b_c", "c_"]
    ids = [device_id(prefix, camera) for prefix in prefixes for camera in cameras]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in ids)  # as Home Assistant asks
    assert device_id("edge-fiqa", "door") == "edge-fiqa_door"


def test_discovery_says_where_to_look():
    entities = discovery("homeassistant", "site/a", "Tür 1", snapshots=True)
    assert len(entities) == 4
    assert len({entity["unique_id"] for entity in entities.values()}) == 4
    for topic, entity in entities.items():
        root, kind, *_, end = topic.split("/")
        assert (root, end) == ("homeassistant", "config")
        assert entity["availability"][0] == {"topic": "site/a/available"}
        assert entity["device"]["name"] == "Tür 1"
        assert kind in ("sensor", "binary_sensor", "image")
    assert len(discovery("h", "p", "door", snapshots=False)) == 3
