"""What is said while plans are built: shares from nested phases, a bar, lines."""

import io
import os
import pty
import sys
import threading

import msgspec
import pytest

from edge_fiqa.engines.build_progress import (
    BuildPhases,
    BuildProgress,
    ProgressBar,
    ProgressLines,
    Repeating,
    reporter,
    reporting_to,
)
from tests.waiting import until

THIRD = BuildProgress(
    number=3, count=11, segment="body-01-03", batch=4, reason="it was never built"
)


def changed(event=THIRD, **changes):
    return msgspec.structs.replace(event, **changes)


def test_nested_phases_are_parts_of_the_step_they_belong_to():
    steps = BuildPhases()
    steps.start("build", None, 4)
    assert steps.now() == ("build", 0.0)
    steps.step("build")
    steps.start("cost", "build", 2)
    steps.start("time", "cost", 5)
    steps.step("time")
    assert steps.now() == ("time", pytest.approx((1 + (0 + 1 / 5) / 2) / 4))
    for _ in range(4):
        steps.step("time")
    steps.finish("time")
    steps.step("cost")
    assert steps.now() == ("cost", pytest.approx((1 + 1 / 2) / 4))
    steps.finish("cost")
    steps.step("build")
    assert steps.now() == ("build", 0.5)
    steps.finish("build")
    assert steps.now() == ("", 1.0)


def test_the_share_never_falls_whatever_the_builder_says():
    steps = BuildPhases()
    steps.start("a", None, 1)
    steps.step("a")
    steps.step("a")  # more than it promised
    assert steps.now()[1] == 1.0
    steps.finish("a")
    steps.start("b", "unknown", 0)
    steps.step("never begun")
    steps.finish("never begun")
    assert steps.now() == ("b", 1.0)


def test_phases_may_be_told_by_many_threads():
    steps = BuildPhases()
    steps.start("all", None, 400)

    def work(name):
        steps.start(name, "all", 100)
        for _ in range(100):
            steps.step(name)
            steps.step("all")
        steps.finish(name)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps.now() == ("all", 1.0)


def test_a_line_at_the_begin_and_the_end_and_every_half_minute():
    now, said = 0.0, []
    lines = ProgressLines(said.append, clock=lambda: now)
    for now in range(0, 71, 5):
        lines(changed(share=now / 100, phase="timing", elapsed_s=float(now)))
    lines(changed(state="built", elapsed_s=71.2))
    lines(None)
    plan = "plan 3 of 11, body-01-03 for 4 faces"
    assert said == [
        f"{plan}: building, as it was never built",
        f"{plan}: 30%, timing, 30 s",
        f"{plan}: 60%, timing, 60 s",
        f"{plan}: built after 71 s",
    ]


def test_lines_of_what_goes_otherwise():
    said = []
    lines = ProgressLines(said.append)
    lines(changed(batch=1, state="waiting"))
    lines(changed(batch=1))
    lines(changed(batch=1, state="failed", elapsed_s=2.0))
    assert [line.split(": ")[1] for line in said] == [
        "waiting, another process is building",
        "building, as it was never built",
        "failed after 2 s",
    ]
    assert said[0].startswith("plan 3 of 11, body-01-03 for 1 face:")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_moves_within_a_plan_and_says_which(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = reporter()
    assert isinstance(bar.display, ProgressBar)
    for number in (1, 2):
        for share in (0.0, 0.5):
            bar(changed(number=number, count=2, share=share, phase="timing"))
        bar(changed(number=number, count=2, state="built", share=1.0))
    drawn = screen.getvalue()
    assert "plan 1 of 2, body-01-03 for 4 faces:   0%" in drawn
    assert "timing" in drawn
    bar(None)
    assert "100%" in screen.getvalue().splitlines()[-1]
    bar(None)


def test_a_serial_console_which_does_not_say_its_size_sees_it():
    code = (
        "from edge_fiqa.engines.build_progress import BuildProgress, reporter\n"
        "bar = reporter()\n"
        "bar(BuildProgress(number=1, count=2, segment='body-01-03', batch=4, share=0.5))\n"
        "bar(None)\n"
    )
    child, terminal = pty.fork()  # 0 by 0
    if child == 0:
        os.environ.pop("COLUMNS", None)
        os.execv(sys.executable, [sys.executable, "-c", code])
    drawn = b""
    while True:
        try:
            drawn += (more := os.read(terminal, 4096))
        except OSError:  # the other end was closed
            break
        if not more:
            break
    assert os.waitpid(child, 0)[1] == 0
    os.close(terminal)
    assert b"plan 1 of 2, body-01-03 for 4 faces:  25%" in drawn


def test_who_is_told(monkeypatch):
    assert isinstance(reporter().display, ProgressLines)  # tests have no terminal
    heard = []
    with reporting_to(heard.append):
        reporter()(THIRD)
        with reporting_to(print):
            assert reporter() is print
        reporter()(None)
    assert heard == [THIRD, None]
    assert isinstance(reporter().display, ProgressLines)
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert isinstance(reporter().display, ProgressLines)


def test_a_silent_builder_is_shown_again_with_the_time_that_passes():
    """One step may be nine tenths of a build."""
    shown = []
    display = Repeating(shown.append, every_s=0.01)
    display(changed(share=0.3, elapsed_s=5.0))
    until(lambda: len(shown) >= 4)
    assert {event.share for event in shown} == {0.3}
    times = [event.elapsed_s for event in shown]
    assert times == sorted(times)
    assert times[-1] > 5.0
    display(changed(state="waiting"))
    thread = display._thread
    display(None)
    thread.join(100)
    assert shown[-2:] == [changed(state="waiting"), None]
    display(THIRD)  # another series
    until(lambda: len(shown) >= len(times) + 4)
    display(None)


def test_a_display_that_goes_away_ends_the_repetition():
    def gone(event):
        calls.append(event)
        if len(calls) > 1:
            raise BrokenPipeError

    calls = []
    display = Repeating(gone, every_s=0.01)
    display(THIRD)
    display._thread.join(100)
    assert len(calls) == 2
