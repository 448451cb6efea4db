"""Gives an engine its plans: read from a file that fits, else built and saved. Reports progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import machine
from edge_fiqa.engines.build_progress import BuildProgress, Report, reporter
from edge_fiqa.engines.trt.api import Log
from edge_fiqa.engines.trt.build import OnProgress, PlanJob, build_plan
from edge_fiqa.engines.trt.child import build_in_child
from edge_fiqa.engines.trt.device import CudaDevice
from edge_fiqa.engines.trt.plans import PlanStore, log
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import Segment

PlanKeys = Sequence[tuple[Segment, int]]
"""Segments, each with the batch size of a plan."""
LITTLE_MEMORY_MB = 4096
"""Below this much available memory, `child: auto` builds in a child process."""


class Supply:
    """Gives an engine the plans of its bundle. Used on the engine's thread only.

    cancelled: once set, the build that runs ends at its next step, and no other build starts.
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
        """Return the plan: read from its file, or built now and saved."""
        data, reason = self.store.load(segment, batch)
        if data is not None:
            return data
        if self._report is None:
            with self.numbered_builds([(segment, batch)]):
                return self._build_and_report(segment, batch, reason)
        return self._build_and_report(segment, batch, reason)

    def build(self, keys: PlanKeys) -> None:
        """Build and save those plans of `keys` that are not there, or do not fit."""
        lacking = self._lacking(keys)
        with self.numbered_builds(lacking):
            for segment, batch in lacking:
                self.take(segment, batch)

    @contextmanager
    def numbered_builds(self, keys: PlanKeys) -> Iterator[None]:
        """Report each build within this context as number i of the n builds that `keys` needs."""
        self._count, self._number = len(self._lacking(keys)), 0
        self._report = reporter()
        try:
            yield
        finally:
            report, self._report = self._report, None
            with suppress(OSError, ValueError):
                report(None)

    def _lacking(self, keys: PlanKeys) -> PlanKeys:
        return [key for key in dict.fromkeys(keys) if self.store.lacks(*key)]

    def _build_and_report(self, segment: Segment, batch: int, reason: str) -> bytes:
        self._number += 1
        self._count = max(self._count, self._number)
        start_s = time.monotonic()
        event = BuildProgress(
            number=self._number, count=self._count, segment=segment.name, batch=batch, reason=reason
        )

        def report(**changes: Any) -> None:
            self._say(event, elapsed_s=time.monotonic() - start_s, **changes)

        def on_progress(phase: str, share: float) -> None:
            report(phase=phase, share=share)

        try:
            data = self._build_and_save(segment, batch, event, on_progress)
        except BaseException:
            report(state="failed")
            raise
        report(state="built", share=1.0)
        return data

    def _build_and_save(
        self, segment: Segment, batch: int, event: BuildProgress, on_progress: OnProgress
    ) -> bytes:
        self._check_not_cancelled()
        with self.store.building(self._cancelled, lambda: self._say(event, state="waiting")):
            data, _ = self.store.load(segment, batch)  # another process may have built it
            if data is not None:
                return data
            self._say(event)
            state = machine.read_machine()
            data = self._run_builder(self._job(segment, batch), state.available_mb, on_progress)
            self._save(segment, batch, data, state.power_mode)
        return data

    def _job(self, segment: Segment, batch: int) -> PlanJob:
        onnx = self._bundle.file_of(segment).resolve()
        return PlanJob(segment.name, str(onnx), batch, self.store.options, str(self.store.timing))

    def _run_builder(
        self, job: PlanJob, available_mb: int | None, on_progress: OnProgress
    ) -> bytes:
        self._device.synchronise()  # tactics are timed on an idle device
        if self._in_child(available_mb):
            return build_in_child(job, self._cancelled, on_progress)
        return build_plan(job, self._log, self._cancelled, on_progress)

    def _save(self, segment: Segment, batch: int, data: bytes, power_mode: str | None) -> None:
        """Save a plan that was built in `power_mode`. The store keeps plans of its own mode only."""
        if power_mode == self.store.target.power_mode:
            self.store.save(segment, batch, data)
            return
        log.warning(
            "the power mode changed from %s to %s: %s is used and not kept; start again",
            self.store.target.power_mode,
            power_mode,
            segment.name,
        )

    def _check_not_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise EngineFailed("building was stopped; what was built is kept")

    def _in_child(self, available_mb: int | None) -> bool:
        little = available_mb is not None and available_mb < LITTLE_MEMORY_MB
        child = self.store.options.child
        return child == "always" or (child == "auto" and little)

    def _say(self, event: BuildProgress, **changes: Any) -> None:
        if self._report is not None:
            with suppress(OSError, ValueError):
                self._report(msgspec.structs.replace(event, **changes))
