"""Pushed pictures are decoded by processes that can be ended, whatever they do."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from edge_fiqa.errors import ImageRefused, Overloaded
from edge_fiqa.faces.decoders import Decoders
from edge_fiqa.faces.images import decode_bytes
from tests.gateway.fake_view import jpeg
from tests.waiting import until

MANY = 16_000_000


def stand_in(body):
    """A decoder that does this with its channel, once it has a request."""
    code = f"""
import socket, sys
sys.path[:] = sys.argv[1:]
from edge_fiqa.faces import decoder_process as d
def answer(channel, data, name, max_pixels):
    import os, time, numpy
    {body}
d._ready, d._answer = lambda: None, answer
d.serve()
"""
    return lambda: [sys.executable, "-c", code, *filter(None, sys.path)]


@pytest.fixture
def decoders_of():
    opened = []

    def open_decoders(*args, **more):
        opened.append(Decoders(*args, **more))
        return opened[-1]

    yield open_decoders
    for decoders in opened:
        decoders.close()


def test_pixels_are_those_of_the_same_decoder_in_this_process(decoders_of):
    decoders = decoders_of()
    data = jpeg(321, 234)
    assert np.array_equal(decoders.decode(data, MANY), decode_bytes(data, "x"))
    decoders.decode(data, MANY)[:] = 0  # the caller's own


def test_refusals_are_the_same_and_the_process_goes_on(decoders_of):
    decoders = decoders_of(1)
    process = decoders._idle[0]
    for data, reason in ((b"hello", "not an image"), (jpeg()[:-9], "cut short"), (b"", "empty")):
        with pytest.raises(ImageRefused, match=f"^the upload: .*{reason}") as refusal:
            decoders.decode(data, MANY)
        assert refusal.value.code == "unreadable"
    with pytest.raises(ImageRefused, match="above the limit"):
        decoders.decode(jpeg(), 1000)
    assert decoders._idle == [process]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("time.sleep(60)", "takes longer than 0.3 s"),
        ("numpy.zeros(1).tobytes(); exec('while True: pass')", "takes longer than 0.3 s"),
        ("os.abort()", "its decoder ended"),
        ("channel.sendall(d.ANSWER.pack(9, 9, 1, 0)); os._exit(0)", "its decoder ended"),
        ("channel.sendall(d.ANSWER.pack(2**32 - 1, 2**32 - 1, 1, 0))", "its decoder ended"),
    ],
)
def test_a_decoder_that_hangs_or_dies_costs_one_picture(decoders_of, body, reason):
    decoders = decoders_of(1, 0.3, stand_in(body))
    with pytest.raises(ImageRefused, match=reason):
        decoders.decode(b"x", MANY)
    assert decoders._all == set()
    decoders._command, decoders.decode_s = Decoders.__init__.__defaults__[2], 30
    assert decoders.decode(jpeg(), MANY).shape == (240, 320, 3)


def test_memory_is_bounded(decoders_of):
    fill = "b'x' * 3_000_000_000"
    decoders = decoders_of(1, 30, stand_in(fill))
    with pytest.raises(ImageRefused, match="its decoder ended"):
        decoders.decode(b"x", 1000)


def test_closing_waits_for_no_decoder(decoders_of):
    decoders = decoders_of(2, 600, stand_in("time.sleep(600)"))
    refused = []

    def decode():
        with pytest.raises(Overloaded) as refusal:
            decoders.decode(b"x", MANY)
        refused.append(str(refusal.value))

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(decoders._all) == 2 and not decoders._idle)
    decoders.close()
    for thread in threads:
        thread.join(100)
    assert refused == ["decoding was stopped"] * 4
    assert decoders._all == set()


def test_no_process_can_be_started(decoders_of):
    decoders = decoders_of(2)
    decoders.decode(jpeg(), MANY)
    decoders._idle.pop().end()
    decoders._command = lambda: ["/nowhere/python"]
    with pytest.raises(Overloaded, match="no decoder can be started"):
        decoders.decode(jpeg(), MANY)


def test_modules_come_from_where_this_process_has_them(tmp_path, monkeypatch, decoders_of):
    (tmp_path / "cv2.py").write_text("raise SystemExit('not this one')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert decoders_of().decode(jpeg(), MANY).shape == (240, 320, 3)


def test_only_the_decoders_of_the_threads_that_are_named_end(decoders_of):
    decoders = decoders_of(2, 600, stand_in("time.sleep(600)"))
    refused = []

    def decode():
        with pytest.raises((ImageRefused, Overloaded)) as refusal:
            decoders.decode(b"x", MANY)
        refused.append(str(refusal.value))

    unwanted, other = threads = [threading.Thread(target=decode) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(decoders._busy) == 2)
    decoders.end_those_of([unwanted.ident])
    unwanted.join(100)
    assert "its decoder ended" in refused[0]
    assert list(decoders._busy) == [other.ident]
    decoders.close()
    other.join(100)
    assert refused[1:] == ["decoding was stopped"]
    assert not decoders._busy


INTERRUPTED = """
import os, signal, threading
from edge_fiqa.faces.decoders import Decoders
from tests.faces.test_decoders import stand_in
from tests.waiting import until
decoders = Decoders(1, 600, stand_in("time.sleep(600)"))
process = decoders._idle[0]._process
def interrupt():
    until(lambda: decoders._busy)
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=interrupt)
thread.start()
try:
    decoders.decode(b"x", 1000)
except KeyboardInterrupt:
    print("ended" if process.returncode else "runs on", len(decoders._all), len(decoders._busy))
thread.join()
decoders._command = Decoders.__init__.__defaults__[2]
from tests.gateway.fake_view import jpeg
print(decoders.decode(jpeg(), 1_000_000).shape)
decoders.close()
"""


def test_an_interrupt_leaves_no_decoder_running():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("ended 0 0\n(240, 320, 3)\n", "")


def test_a_decoder_that_was_ended_after_its_answer_is_not_used_again(decoders_of):
    """The thread has its picture; the next picture must not find the process that dies."""
    decoders = decoders_of(1)
    first = decoders._idle[0]

    def ended_after_its_answer(*arguments):
        picture = type(first).decode(first, *arguments)
        decoders.end_those_of([threading.get_ident()])
        return picture

    first.decode = ended_after_its_answer
    assert decoders.decode(jpeg(), MANY).shape == (240, 320, 3)
    assert (decoders._idle, decoders._all) == ([], set())
    assert decoders.decode(jpeg(), MANY).shape == (240, 320, 3)


def test_a_decoder_that_is_given_back_is_nobodys(decoders_of):
    """Else who asks to end the first thread's would end that of the next picture."""
    decoders = decoders_of(1)
    waited_for = []

    class Idle(list):
        def append(self, decoder):
            waited_for.append(dict(decoders._busy))
            super().append(decoder)

    decoders._idle = Idle(decoders._idle)
    with pytest.raises(ImageRefused, match="not an image"):
        decoders.decode(b"hello", MANY)
    decoders.decode(jpeg(), MANY)
    assert waited_for == [{}, {}]
