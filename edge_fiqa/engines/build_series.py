"""A series of builds, each reported as number i of n."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from edge_fiqa.engines.build_progress import BuildProgress, Report, reporter


class RunningBuild:
    """One build of a series. Call it with the builder's phase and the share that is done."""

    def __init__(self, event: BuildProgress, report: Report) -> None:
        self._event, self._report, self._start_s = event, report, time.monotonic()

    def __call__(self, phase: str, share: float) -> None:
        self.say(phase=phase, share=share)

    def say(self, **changes: Any) -> None:
        """Report this build, with these fields changed. A closed terminal does not stop it."""
        elapsed_s = time.monotonic() - self._start_s
        with suppress(OSError, ValueError):
            self._report(msgspec.structs.replace(self._event, elapsed_s=elapsed_s, **changes))


class BuildSeries:
    """count: how many builds are expected; it grows where more come."""

    def __init__(self, report: Report, count: int) -> None:
        self._report, self._count, self._number = report, count, 0

    @contextmanager
    def build(self, segment: str, batch: int, reason: str) -> Iterator[RunningBuild]:
        """The next one. It is reported as built, or as failed where an exception leaves."""
        self._number += 1
        self._count = max(self._count, self._number)
        event = BuildProgress(
            number=self._number, count=self._count, segment=segment, batch=batch, reason=reason
        )
        running = RunningBuild(event, self._report)
        try:
            yield running
        except BaseException:
            running.say(state="failed")
            raise
        running.say(state="built", share=1.0)


@contextmanager
def building_series(count: int) -> Iterator[BuildSeries]:
    """Builds that are about to come, told to the listener of `reporting_to`, else to stderr."""
    report = reporter()
    try:
        yield BuildSeries(report, count)
    finally:
        with suppress(OSError, ValueError):
            report(None)
