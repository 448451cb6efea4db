"""Nothing of what is no longer configured stays at the broker: no entity, no state, no face."""

import time

import pytest

from tests.gateway.fake_view import FakeView, event, jpeg
from tests.gateway.outputs.broker import Listener
from tests.waiting import until


@pytest.fixture
def at_broker(broker):
    """Topics that hold a retained message, as a new subscriber sees them."""

    def topics():
        late = Listener(broker)
        previous = -1
        while len(late.messages) != previous:
            previous = len(late.messages)
            time.sleep(0.3)
        retained = {m.topic for m in late.messages if m.retain and m.payload}
        late.close()
        return retained

    return topics


def announced(sink, cameras):
    """Wait until everything is with the broker."""
    until(lambda: len(sink._names) == cameras)
    until(lambda: sink.spool.count == 0 and not sink._retained._sent)
    time.sleep(0.6)
    until(lambda: sink.spool.count == 0 and not sink._retained._sent)


def of(topics, word):
    return {topic for topic in topics if word in topic}


def run(sink_for, port, names, shots=(), **more):
    sink = sink_for(port, **more)
    sink.watch(FakeView(names=names))
    announced(sink, len(names))
    for camera in shots:
        sink.publish(event(0, camera=camera), jpeg())
    until(lambda: sink.delivered == len(shots))
    announced(sink, len(names))
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
    announced(sink, 1)
    assert of(at_broker(), "hall") == set()


def test_an_event_of_a_removed_camera_does_not_bring_it_back(broker, sink_for, at_broker):
    sink = run(sink_for, broker.port, ("door",), retain_snapshots=True)
    sink.publish(event(1, camera="hall"), jpeg())
    until(lambda: sink.delivered == 1)
    announced(sink, 1)
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
    until(lambda: sink.problem is None)
    time.sleep(0.7)
    assert len(of(at_broker(), "door")) == 6


def test_what_is_noted_is_forgotten_once_it_is_empty(broker, sink_for):
    sink = run(sink_for, broker.port, ("door", "hall"))
    sink._view.names = ("door",)
    announced(sink, 1)
    until(lambda: not of(sink._retained._noted, "hall"))
    sink.close(5)
    assert of(sink_for(broker.port).spool.retained(), "hall") == set()
