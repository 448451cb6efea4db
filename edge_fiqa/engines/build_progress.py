"""How far the building of plans is: a bar in a terminal, lines in a log, or a function of the caller.

A plan takes seconds to minutes and a bundle has tens of them, so a user must see that it goes on.
Needs no engine's library.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

import msgspec
from msgspec import Struct
from tqdm import tqdm

from edge_fiqa.errors import counted

log = logging.getLogger("edge_fiqa.plans")
LINE_EVERY_S = 30.0  # between two lines about one plan
REPEAT_EVERY_S = 1.0  # a display shows that time passes: one step may be nine tenths of a build


class BuildProgress(Struct, frozen=True, kw_only=True):
    """Plan `number` of `count` that have to be built now.

    phase, share: what the builder does, and how much of this plan its steps say is done (0 to 1;
    they take unequal times). waiting: another process is building, and only one may at a time.
    reason: why it is built.
    """

    number: int
    count: int
    segment: str
    batch: int
    reason: str = ""
    state: Literal["waiting", "building", "built", "failed"] = "building"
    phase: str = ""
    share: float = 0.0
    elapsed_s: float = 0.0

    def __str__(self) -> str:
        faces = counted(self.batch, "face")
        return f"plan {self.number} of {self.count}, {self.segment} for {faces}"


Report = Callable[[BuildProgress | None], None]
"""Called with every change, on any thread, one call at a time; with None at the end of the builds."""


class ProgressBar:
    """A bar over all plans, which moves within a plan as well."""

    FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._shown: tuple[int, float] = (0, 0.0)

    def __call__(self, event: BuildProgress | None) -> None:
        if event is None:
            if self._bar is not None:
                self._bar.close()
            self._bar = None
            return
        if self._bar is None:
            self._bar = self._new_bar(event)
        phase = event.phase or ("waiting for another build" if event.state == "waiting" else "")
        self._bar.set_description_str(str(event), refresh=False)
        self._bar.set_postfix_str(phase, refresh=False)
        done = 1.0 if event.state == "built" else event.share
        self._bar.update(event.number - 1 + done - self._bar.n)
        if not self._moved(event) or event.state != "building" or not event.share:
            self._bar.refresh()  # the clock at least

    def _moved(self, event: BuildProgress) -> bool:
        before, self._shown = self._shown, (event.number, event.share)
        return self._shown != before

    def _new_bar(self, event: BuildProgress) -> tqdm[None]:
        # A serial console does not say how large it is; tqdm would draw nothing.
        unknown = _width(sys.stderr) == 0
        return tqdm(
            desc=str(event),
            total=event.count,
            file=sys.stderr,
            bar_format=self.FORMAT,
            dynamic_ncols=not unknown,
            ncols=80 if unknown else None,
            nrows=20 if unknown else None,
        )


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 0


class ProgressLines:
    """A line when the build of a plan begins and when it ends, and one every `every_s` in between."""

    def __init__(
        self,
        say: Callable[[str], None] = log.info,
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._every_s, self._clock = say, every_s, clock
        self._last_step: tuple[int, str] = (0, "")
        self._last_line_s = 0.0

    def __call__(self, event: BuildProgress | None) -> None:
        if event is None:
            return
        now_s, step = self._clock(), (event.number, event.state)
        began = step != self._last_step
        if not began and now_s - self._last_line_s < self._every_s:
            return
        self._last_step, self._last_line_s = step, now_s
        self._say(f"{event}: {self._described(event, began)}")

    @staticmethod
    def _described(event: BuildProgress, began: bool) -> str:
        if event.state == "waiting":
            return "waiting, another process is building"
        if event.state != "building":
            return f"{event.state} after {event.elapsed_s:.0f} s"
        if began:
            return f"building, as {event.reason}" if event.reason else "building"
        phase = f", {event.phase}" if event.phase else ""
        return f"{event.share:.0%}{phase}, {event.elapsed_s:.0f} s"


_listener: Report | None = None


@contextmanager
def reporting_to(report: Report) -> Iterator[None]:
    """All engines of this process report their builds to `report` within this context."""
    global _listener
    before, _listener = _listener, report
    try:
        yield
    finally:
        _listener = before


def reporter() -> Report:
    """For a series of builds that begins now: the listener of `reporting_to`, else stderr."""
    if _listener is not None:
        return _listener
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Repeating(ProgressBar() if terminal else ProgressLines())


class Repeating:
    """Shows the last report again while the builder is silent, with the time that has passed.

    For displays only: a listener that waits for signs of life must hear the builder's own.
    """

    def __init__(self, display: Report, every_s: float = REPEAT_EVERY_S) -> None:
        self.display, self._every_s = display, every_s
        self._lock, self._over = threading.Lock(), threading.Event()
        self._last: BuildProgress | None = None
        self._heard_at_s = 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, event: BuildProgress | None) -> None:
        with self._lock:
            self._last, self._heard_at_s = event, time.monotonic()
            self.display(event)
        if event is None:
            self._over.set()
            self._thread = None
        elif self._thread is None:
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._repeat, args=[self._over], daemon=True)
            self._thread.start()

    def _repeat(self, over: threading.Event) -> None:
        while not over.wait(self._every_s):
            with self._lock:
                silent_s = time.monotonic() - self._heard_at_s
                if self._last is None or self._last.state != "building" or silent_s < self._every_s:
                    continue
                elapsed_s = self._last.elapsed_s + silent_s
                try:
                    self.display(msgspec.structs.replace(self._last, elapsed_s=elapsed_s))
                except (OSError, ValueError):  # the terminal was closed
                    return


class BuildPhases:
    """A builder's nested phases, as one share of the whole. Thread-safe, as builders call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._reached = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[phase] = _Phase(parent if parent in self._phases else None, max(steps, 1))

    def step(self, phase: str) -> None:
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done += 1

    def finish(self, phase: str) -> None:
        with self._lock:
            finished = self._phases.pop(phase, None)
            if finished is not None and finished.parent is None:
                self._reached = 1.0

    def now(self) -> tuple[str, float]:
        """The innermost phase that was begun last, and the share, which never falls."""
        with self._lock:
            roots = [name for name, phase in self._phases.items() if phase.parent is None]
            self._reached = max([self._reached, *map(self._share, roots)])
            return next(reversed(self._phases), ""), self._reached

    def _share(self, name: str) -> float:
        phase = self._phases[name]
        inner = [self._share(n) for n, child in self._phases.items() if child.parent == name]
        return min(1.0, (phase.done + max(inner, default=0.0)) / phase.steps)


class _Phase:
    def __init__(self, parent: str | None, steps: int) -> None:
        self.parent, self.steps, self.done = parent, steps, 0
