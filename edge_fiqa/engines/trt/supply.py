"""Where an engine's plans come from: their files where those fit, else a build, which is reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import machine as board
from edge_fiqa.engines.build_progress import BuildProgress, Report, reporter
from edge_fiqa.engines.trt.api import Log
from edge_fiqa.engines.trt.build import Heard, PlanJob, build_plan
from edge_fiqa.engines.trt.child import build_in_child
from edge_fiqa.engines.trt.device import CudaDevice
from edge_fiqa.engines.trt.plans import PlanStore, log
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import Segment

Work = Sequence[tuple[Segment, int]]
"""Segments, each with the batch size of a plan."""
SHORT_MB = 4096
"""Below this much available memory, `child: auto` builds in a child process."""


class Supply:
    """The plans of one bundle, for an engine on whose thread it is used.

    cancelled: ends a build at its next step, and the series that it is part of.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: PlanStore,
        device: CudaDevice,
        log: Log,
        cancelled: threading.Event,
    ) -> None:
        self._bundle, self.store, self._device, self._log = bundle, store, device, log
        self._cancelled = cancelled
        self._report: Report | None = None
        self._number = self._count = 0

    def take(self, segment: Segment, batch: int) -> bytes:
        """The plan, from its file, or built now and filed."""
        data, reason = self.store.load(segment, batch)
        if data is not None:
            return data
        if self._report is None:
            with self.series([(segment, batch)]):
                return self._built(segment, batch, reason)
        return self._built(segment, batch, reason)

    def build(self, work: Work) -> None:
        """Build and file those of `work` that are not there, or do not fit."""
        lacking = self._lacking(work)
        with self.series(lacking):
            for segment, batch in lacking:
                self.take(segment, batch)

    @contextmanager
    def series(self, work: Work) -> Iterator[None]:
        """Plans that are built meanwhile are reported as some of those that `work` lacks."""
        self._count, self._number = len(self._lacking(work)), 0
        self._report = reporter()
        try:
            yield
        finally:
            report, self._report = self._report, None
            with suppress(OSError, ValueError):
                report(None)

    def _lacking(self, work: Work) -> Work:
        return [one for one in dict.fromkeys(work) if self.store.lacks(*one)]

    def _built(self, segment: Segment, batch: int, reason: str) -> bytes:
        self._number += 1
        self._count = max(self._count, self._number)
        begun, told = time.monotonic(), self._say
        now = BuildProgress(
            number=self._number, count=self._count, segment=segment.name, batch=batch, reason=reason
        )

        def heard(phase: str, share: float) -> None:
            told(now, phase=phase, share=share, elapsed_s=time.monotonic() - begun)

        try:
            data = self._build(segment, batch, now, heard)
        except BaseException:
            told(now, state="failed", elapsed_s=time.monotonic() - begun)
            raise
        told(now, state="built", share=1.0, elapsed_s=time.monotonic() - begun)
        return data

    def _build(self, segment: Segment, batch: int, now: BuildProgress, heard: Heard) -> bytes:
        self._check_not_cancelled()
        with self.store.building(self._cancelled, lambda: self._say(now, state="waiting")):
            data, _ = self.store.load(segment, batch)  # another process may have built it
            if data is not None:
                return data
            self._say(now)
            job = PlanJob(
                segment.name,
                str(self._bundle.file_of(segment).resolve()),
                batch,
                self.store.options,
                str(self.store.timing),
            )
            machine = board.read_machine()
            self._device.synchronise()  # tactics are timed on an idle device
            if self._in_child(machine.available_mb):
                data = build_in_child(job, self._cancelled, heard)
            else:
                data = build_plan(job, self._log, self._cancelled, heard)
            if machine.power_mode == self.store.target.power_mode:
                self.store.save(segment, batch, data)
            else:
                log.warning(
                    "the power mode changed from %s to %s: %s is used and not kept; start again",
                    self.store.target.power_mode,
                    machine.power_mode,
                    segment.name,
                )
        return data

    def _check_not_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise EngineFailed("building was stopped; what was built is kept")

    def _in_child(self, available_mb: int | None) -> bool:
        short = available_mb is not None and available_mb < SHORT_MB
        child = self.store.options.child
        return child == "always" or (child == "auto" and short)

    def _say(self, event: BuildProgress, **changes: Any) -> None:
        if self._report is not None:
            with suppress(OSError, ValueError):
                self._report(msgspec.structs.replace(event, **changes))
