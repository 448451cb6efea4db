"""What every sink keeps to: it never waits, is bounded, keeps the order, outlives bugs."""

import threading

from edge_fiqa.gateway.outputs.queued import BATCH, QueuedSink, reason
from tests.gateway.fake_view import event
from tests.waiting import until


class Plain(QueuedSink):
    """Delivers into a list, as slowly or wrongly as a test asks."""

    def __init__(self, **more):
        super().__init__("plain", **more)
        self.got, self.sizes, self.failures = [], [], []
        self.begun, self.go = threading.Event(), threading.Event()
        self._start()

    def _deliver(self, batch):
        self.begun.set()
        assert self.go.wait(100)
        if self.failures:
            raise self.failures.pop()
        self.got += [event.sequence for event, _ in batch]
        self.sizes.append(len(batch))


def test_publishing_never_waits():
    sink = Plain(queue=10_000)
    for number in range(5000):  # nothing is delivered meanwhile: it would wait for ever
        sink.publish(event(number), None)
    assert sink.got == []
    assert sink.waiting == 5000
    sink.go.set()
    sink.close(100)
    assert sink.got == list(range(5000))
    assert max(sink.sizes) == BATCH


def test_the_oldest_are_dropped_and_counted():
    sink = Plain(queue=100)
    sink.publish(event(0), None)
    assert sink.begun.wait(100)  # the first is in hand
    for number in range(1, 151):
        sink.publish(event(number), None)
    assert sink.dropped == 50
    sink.go.set()
    sink.close(100)
    assert sink.got == [0, *range(51, 151)]


def test_what_fails_is_tried_again_and_not_overtaken():
    sink = Plain()
    sink.go.set()
    sink.failures += [OSError(28, "No space left on device", "/secret"), OSError(5, "I/O error")]
    for number in range(BATCH + 10):
        sink.publish(event(number), None)
    sink.close(100)
    assert sink.got == list(range(BATCH + 10))
    assert sink.problem is None


def test_a_bug_costs_one_batch(caplog):
    sink = Plain()
    sink.failures.append(KeyError("a bug"))
    sink.publish(event(0), None)
    assert sink.begun.wait(100)
    sink.publish(event(1), None)
    sink.go.set()
    sink.close(100)
    assert sink.got == [1]
    assert sink.dropped == 1
    assert "this is a bug" in caplog.text


def test_what_is_lost_at_the_end_is_said(caplog):
    sink = Plain()
    sink.go.set()
    sink.failures += [OSError(28, "No space left on device")] * 1000
    sink.publish(event(0), None)
    sink.close(0.2)
    until(lambda: "1 event could not be delivered" in caplog.text)
    assert sink.waiting == 1


def test_what_comes_after_the_end_is_counted_as_dropped():
    sink = Plain()
    sink.go.set()
    sink.close(100)
    sink.publish(event(0), None)
    assert (sink.got, sink.waiting, sink.dropped) == ([], 0, 1)


def test_the_same_trouble_is_said_once_and_without_a_path(caplog):
    sink = Plain()
    sink.go.set()
    sink.failures += [OSError(28, "No space left on device", "/secret") for _ in range(2)]
    sink.publish(event(0), None)
    until(lambda: sink.got == [0])
    sink.close(100)
    assert caplog.text.count("No space left on device; trying again") == 1
    assert "/secret" not in caplog.text
    assert reason(OSError("no number")) == "OSError"
