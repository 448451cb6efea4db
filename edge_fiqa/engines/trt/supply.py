"""Gives an engine its plans: read from a file that fits, else built and saved. Reports progress."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import machine
from edge_fiqa.engines.build_series import BuildSeries, RunningBuild, building_series
from edge_fiqa.engines.trt.api import Log
from edge_fiqa.engines.trt.build import PlanJob, build_plan
from edge_fiqa.engines.trt.build_monitor import OnProgress
from edge_fiqa.engines.trt.child import build_in_child
from edge_fiqa.engines.trt.device import CudaDevice
from edge_fiqa.engines.trt.plans import PlanStore, log
from edge_fiqa.engines.trt.portable_plans import PortablePlans, read_portable
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import Segment

PlanKeys = Sequence[tuple[Segment, int]]
"""Segments, each with the batch size of a plan."""
LITTLE_MEMORY_MB = 4096
"""Below this much available memory, `child: auto` builds in a child process."""


class Supply:
    """Gives an engine the plans of its bundle. Used on the engine's thread only.

    cancelled: once set, the build that runs ends at its next step, and no other build starts.
    portable: plans in the bundle that run here; nothing is built then.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: PlanStore,
        device: CudaDevice,
        log: Log,
        cancelled: threading.Event,
        portable: PortablePlans | None = None,
    ) -> None:
        self._bundle, self.store, self._device, self._log = bundle, store, device, log
        self._cancelled, self._portable = cancelled, portable
        self._series: BuildSeries | None = None

    def take(self, segment: Segment, batch: int) -> bytes:
        """Return the plan: read from its file, or built now and saved."""
        if self._portable is not None:
            return read_portable(self._bundle, self._portable.plans[segment.name])
        data, reason = self.store.load(segment, batch)
        if data is not None:
            return data
        if self._series is None:
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
        with building_series(len(self._lacking(keys))) as self._series:
            try:
                yield
            finally:
                self._series = None

    def _lacking(self, keys: PlanKeys) -> PlanKeys:
        if self._portable is not None:
            return []
        return [key for key in dict.fromkeys(keys) if self.store.lacks(*key)]

    def _build_and_report(self, segment: Segment, batch: int, reason: str) -> bytes:
        assert self._series is not None
        with self._series.build(segment.name, batch, reason) as running:
            return self._build_and_save(segment, batch, running)

    def _build_and_save(self, segment: Segment, batch: int, running: RunningBuild) -> bytes:
        self._check_not_cancelled()
        with self.store.building(self._cancelled, lambda: running.say(state="waiting")):
            data, _ = self.store.load(segment, batch)  # another process may have built it
            if data is not None:
                return data
            running.say()
            state = machine.read_machine()
            data = self._run_builder(self._job(segment, batch), state.available_mb, running)
            self._save(segment, batch, data, state.power_mode)
        return data

    def _job(self, segment: Segment, batch: int) -> PlanJob:
        onnx = str(self._bundle.file_of(segment).resolve())
        capabilities = () if self._log.api.tunes else (self._device.sm,)
        timing = str(self.store.timing)
        return PlanJob(segment.name, onnx, batch, self.store.options, timing, capabilities)

    def _run_builder(
        self, job: PlanJob, available_mb: int | None, on_progress: OnProgress
    ) -> bytes:
        self._device.synchronise()  # tactics are timed on an idle device
        if self._in_child(available_mb):
            return build_in_child(job, self._log.api, self._cancelled, on_progress)
        return build_plan(job, self._log, self._cancelled, on_progress)

    def _save(self, segment: Segment, batch: int, data: bytes, power_mode: str | None) -> None:
        """Save a plan that was built in `power_mode`. The store keeps plans of its own mode only."""
        if not self._log.api.tunes or power_mode == self.store.target.power_mode:
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
