"""Nothing of what is no longer configured stays at the broker: no entity, no state, no face."""

import sqlite3
import time
import uuid

import pytest

from edge_fiqa.gateway.outputs import retained
from edge_fiqa.gateway.outputs.mqtt_link import Answer
from edge_fiqa.gateway.outputs.retained import RetainedMessages
from edge_fiqa.gateway.outputs.spool import Spool
from tests.gateway.fake_view import FakeView, event, jpeg
from tests.gateway.outputs.broker import Listener
from tests.waiting import until


class FakeLink:
    """Takes everything, and answers when asked. refuses: topics."""

    connections, room = 1, 9

    def __init__(self):
        self.sent, self.refuses = [], set()

    def fits(self, topic, payload):
        return True

    def publish(self, topic, payload, *, qos=1, retain=False):
        self.sent.append((topic, payload))
        return len(self.sent)

    def answer(self, messages, since=0):
        for number in range(since + 1, len(self.sent) + 1):
            refused = self.sent[number - 1][0] in self.refuses
            messages.take(Answer(number, "Not authorized" if refused else None))
        return len(self.sent)


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool/events.sqlite", 10**6)
    yield opened
    opened.close()


def test_of_two_refused_groups_both_are_tried_again(link, spool, monkeypatch):
    monkeypatch.setattr(retained, "REFUSED_S", 0.0)
    link.refuses = {"discovery/a/config", "edge-fiqa/a/state"}
    messages, wanted = RetainedMessages(spool, link), dict.fromkeys(link.refuses, b"x")
    done = 0
    for _ in range(2):
        messages.hold(wanted, set())
        done = link.answer(messages, done)
    link.refuses = {"discovery/a/config"}
    for _ in range(4):
        messages.hold(wanted, set())
        done = link.answer(messages, done)
    for _ in range(4):  # the broker has the state now, and only the other is tried again
        messages.hold(wanted, set())
        assert {topic for topic, _ in link.sent[done:]} <= {"discovery/a/config"}
        done = link.answer(messages, done)
    assert messages.problem.startswith("discovery/a/config: ")


def test_what_cannot_be_emptied_is_named_tried_again_and_may_be_wanted_again(
    link, spool, monkeypatch
):
    spool.note_retained({"p/a/state"})
    link.refuses = {"p/a/state"}
    messages = RetainedMessages(spool, link)
    messages.hold({}, set())
    done = link.answer(messages)
    assert "p/a/state: the broker does not let it be emptied" in messages.problem
    messages.hold({}, set())
    assert len(link.sent) == 1  # not at once: some brokers end the connection
    link.refuses = set()
    messages.hold({"p/a/state": b"x"}, set())
    assert link.sent[1:] == [("p/a/state", b"x")]
    done = link.answer(messages, done)
    now = time.monotonic()
    monkeypatch.setattr(retained.time, "monotonic", lambda: now + retained.GIVEN_UP_S + 1)
    messages.hold({}, set())
    assert link.sent[2:] == [("p/a/state", b"")]
    link.answer(messages, done)
    assert messages.problem is None
    assert spool.retained() == set()


def test_a_disk_that_fails_costs_no_other_answer(link, spool, monkeypatch):
    spool.note_retained({"p/a/state"})
    messages = RetainedMessages(spool, link)
    messages.hold({}, set())

    def full(topic):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(spool, "forget_retained", full)
        assert messages.take(Answer(1, None))
    link.connections = 2
    messages.hold({}, set())
    link.answer(messages, 1)
    assert spool.retained() == set()


@pytest.fixture
def at_broker(broker):
    """Topics that hold a retained message, as a new subscriber sees them."""

    def topics():
        late, last = Listener(broker), f"last/{uuid.uuid4()}"
        late.client.publish(last, qos=1)  # the broker sends it after what it holds
        until(lambda: late.payloads(last))
        retained = {m.topic for m in late.messages if m.retain and m.payload}
        late.close()
        return retained

    return topics


def announced(sink):
    """Wait until everything is with the broker, and nothing of it is about to be sent."""
    until(lambda: is_settled(sink))
    before = sink._next_view
    until(lambda: sink._next_view > before and is_settled(sink))


def is_settled(sink):
    """What is wanted of the view's cameras was sent and answered, and all else is emptied."""
    messages, wanted, kept = sink._retained, dict(sink._wanted), set(sink._kept or ())
    states = {f"{sink.config.prefix}/{name}/state" for name in sink._view.names}
    return (
        states == {topic for topic in wanted if topic.endswith("/state")}
        and messages._said == wanted
        and messages._noted == wanted.keys() | kept
        and not messages._sent
        and sink.spool.count == 0
    )


def of(topics, word):
    return {topic for topic in topics if word in topic}


def run(sink_for, port, names, shots=(), **more):
    sink = sink_for(port, **more)
    sink.watch(FakeView(names=names))
    announced(sink)
    for camera in shots:
        sink.publish(event(0, camera=camera), jpeg())
    until(lambda: sink.delivered == len(shots))
    announced(sink)
    return sink


def test_a_camera_that_was_renamed_while_the_gateway_was_down(broker, sink_for, at_broker):
    sink = run(sink_for, broker.port, ("door", "hall"), ("hall",), retain_snapshots=True)
    sink.close(5)
    before = at_broker()
    assert "edge-fiqa/hall/face/snapshot" in before
    assert len(of(before, "hall")) == 7  # four entities, state, availability and a face
    run(sink_for, broker.port, ("door", "lobby"), retain_snapshots=True)
    after = at_broker()
    assert of(after, "hall") == set()
    assert len(of(after, "door")) == len(of(after, "lobby")) == 6


def test_a_camera_that_is_removed_while_the_broker_is_down(broker, sink_for, at_broker):
    sink = run(sink_for, broker.port, ("door", "hall"), ("hall",), retain_snapshots=True)
    broker.stop()
    until(lambda: not sink.link.connected)
    sink._view.names = ("door",)
    broker.start()
    until(lambda: sink.link.connected)
    announced(sink)
    assert of(at_broker(), "hall") == set()


def test_an_event_of_a_removed_camera_does_not_bring_it_back(broker, sink_for, at_broker):
    sink = run(sink_for, broker.port, ("door",), retain_snapshots=True)
    sink.publish(event(1, camera="hall"), jpeg())
    until(lambda: sink.delivered == 1)
    announced(sink)
    assert of(at_broker(), "hall") == set()


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"snapshots": False}, ("snapshot", "best_shot")),
        ({"retain_snapshots": False}, ("snapshot",)),
        ({"discovery": None}, ("homeassistant/",)),
        ({"discovery": "ha"}, ("homeassistant/",)),
        ({"prefix": "site"}, ("edge-fiqa",)),
    ],
)
def test_what_a_changed_configuration_leaves_behind(broker, sink_for, at_broker, change, gone):
    sink = run(sink_for, broker.port, ("door",), ("door",), retain_snapshots=True)
    before = at_broker()
    sink.close(5)
    assert all(of(before, word) for word in gone)
    run(sink_for, broker.port, ("door",), **{"retain_snapshots": True, **change})
    after = at_broker()
    assert [of(after, word) for word in gone] == [set()] * len(gone)
    assert f"{change.get('prefix', 'edge-fiqa')}/door/state" in after


def test_nothing_is_emptied_before_the_cameras_are_known(broker, sink_for, at_broker):
    run(sink_for, broker.port, ("door",)).close(5)
    sink = sink_for(broker.port)
    sink.publish(event(0), None)
    until(lambda: sink.delivered == 1)  # sent after what would have been emptied
    assert len(of(at_broker(), "door")) == 6


def test_what_is_noted_is_forgotten_once_it_is_empty(broker, sink_for):
    sink = run(sink_for, broker.port, ("door", "hall"))
    sink._view.names = ("door",)
    announced(sink)
    until(lambda: not of(sink._retained._noted, "hall"))
    sink.close(5)
    assert of(sink_for(broker.port).spool.retained(), "hall") == set()
