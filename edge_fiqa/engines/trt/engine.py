"""TensorRT, for Jetson and servers, and TensorRT for RTX, for desktop and data-centre cards.

One plan per segment and batch size, built on the machine that runs it, at first use or ahead, and kept
(see `plans`). TensorRT for RTX also takes plans that came with the bundle (see `portable_plans`).
Tokens are device addresses; only images go in and scores come out. All device work runs on one
thread and one stream.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.config import PlanOptions
from edge_fiqa.engines import machine
from edge_fiqa.engines.base import EngineBase, Outputs, Tokens
from edge_fiqa.engines.lease import TokenPool
from edge_fiqa.engines.owner import Owner
from edge_fiqa.engines.trt.api import Log, api_of, need
from edge_fiqa.engines.trt.compiled_kernels import CompiledKernels
from edge_fiqa.engines.trt.device import CudaDevice, DriverError, Staging
from edge_fiqa.engines.trt.graphs import CudaGraphs
from edge_fiqa.engines.trt.kernels import PlanKernel, kernels_of
from edge_fiqa.engines.trt.loaded_segment import LoadedSegment
from edge_fiqa.engines.trt.outputs import OutputStaging
from edge_fiqa.engines.trt.plans import PlanStore, Target, log, plan_options
from edge_fiqa.engines.trt.portable_plans import PortablePlans, portable_plans
from edge_fiqa.engines.trt.scratch import Scratch
from edge_fiqa.engines.trt.supply import PlanKeys, Supply
from edge_fiqa.engines.turn import AFTER_FORK, in_turn
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import IMAGE, Bytes, Rows, Segment

TOKEN_BYTES = 4  # tokens are float32 in every precision: the residual stream is
IN_THE_CONTEXT = (
    "_images", "_outputs", "_begin", "_end", "_graphs", "_pool", "_scratch", "_kernels",
    "_runtime", "_full_runtime", "_supply",
)  # fmt: skip
"""Attributes that hold what the device's context owns, in the order in which they go."""


class TensorRT(EngineBase):
    backend = "trt"

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        super().__init__()
        self.bundle, self.config = bundle, bundle.config
        self.causes = bundle.manifest.causes
        self.segments = frozenset(bundle.segments)
        self.threads = threads or 1
        self._api = api_of(self.backend)
        self.version = self._api.version
        self.options = self._usable(plan_options(bundle))
        self._portable: PortablePlans | None = None
        self.max_batch = self.options.batches[-1]
        self.device_ms: dict[Segment, float] = {}
        """What each segment took on the device when it last ran, by CUDA events."""
        self._row_bytes = self.config.tokens * self.config.width * TOKEN_BYTES
        self._cancelled = threading.Event()
        self._closed, self._process = False, os.getpid()
        self._loaded: dict[tuple[Segment, int], LoadedSegment] = {}
        self._owner = Owner("edge_fiqa-tensorrt")
        try:
            self._owner.call(self._open)
        except BaseException:
            self._owner.stop()
            raise
        atexit.register(self.close)
        if self.options.ahead:
            try:
                self._wait(self._ahead)
            except BaseException:
                self.close()
                raise

    @in_turn
    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs:
        faces = self.faces_in(segment, x)
        return self._wait(self._run, segment, x, faces)

    @in_turn
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        return self._wait(self._keep, tokens, self.rows_in(tokens, rows))

    def computed(self, faces: int) -> int:
        return next(size for size in self.options.batches if size >= faces)

    def prepare(
        self, segments: Iterable[Segment] | None = None, faces: Iterable[int] | None = None
    ) -> None:
        counts = self.options.batches if faces is None else faces
        sizes = {self.computed(min(n, self.max_batch)) for n in counts}
        chosen = sorted(self.segments if segments is None else segments)
        self._wait(self._prepare, [(s, size) for size in sorted(sizes) for s in chosen])

    def kernels(self, segment: Segment, faces: int = 1) -> list[PlanKernel]:
        """Those of its plan for so many faces, which is built and loaded where that is needed."""
        listed: list[PlanKernel] = self._wait(self._list_kernels, segment, self.computed(faces))
        return listed

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._cancelled.set()
        atexit.unregister(self.close)
        if os.getpid() != self._process:
            return  # a fork's copy: the device's objects are the other process's
        try:
            self._owner.call(self._release)
        finally:
            self._owner.stop()

    # ---- on the owner's thread

    def _open(self) -> None:
        # Raises where there is no driver, before the library is touched.
        self._device = CudaDevice(backend=self.backend)
        try:
            self.device = f"CUDA: {self._device.name}"
            self._log = Log(self._api)
            self._take_portable()
            self._runtime = self._make_runtime()
            store = PlanStore(self.bundle, self._target(), self.options, self._api.folder)
            self._supply = Supply(
                self.bundle, store, self._device, self._log, self._cancelled, self._portable
            )
            self._kernels = None if self._api.tunes else self._compiled_kernels(store)
            self._scratch = Scratch(self._device)
            device, size = self._device, self.max_batch * self._row_bytes
            self._pool = TokenPool(lambda: int(device.allocate(size)))
            pixels = (self.max_batch, IMAGE, IMAGE, 3)
            self._images = Staging(self._device, pixels, np.uint8)
            self._outputs = OutputStaging(
                self._device, self.max_batch, self.config.depth, len(self.causes)
            )
            self._graphs = CudaGraphs(self._device.handle) if self.options.graphs else None
            self._begin, self._end = self._device.event(), self._device.event()
        except BaseException:
            self._drop()
            raise

    def _usable(self, options: PlanOptions) -> PlanOptions:
        """The options without those that this library does not have."""
        if self._api.lean:
            return options
        return msgspec.structs.replace(options, version_compatible=False, lean_library=None)

    def _take_portable(self) -> None:
        """Use the bundle's own plans where it has some that run here, with their options."""
        plans = None if self._api.tunes else portable_plans(self.bundle)
        if plans is None:
            return
        precision = self.bundle.manifest.precision
        if (reason := plans.misfit(self.version, self._device.sm, precision)) is not None:
            log.warning("%s; plans are built here", reason)
            return
        if (reason := plans.shortcoming()) is not None:
            log.warning("%s; run edge-fiqa plans again for better ones", reason)
        self._portable = plans
        self.options = msgspec.structs.replace(plans.options, ahead=False)
        self.max_batch = self.options.batches[-1]

    def _compiled_kernels(self, store: PlanStore) -> CompiledKernels:
        """Beside the plans of this machine, also where the plans themselves lie in the bundle."""
        return CompiledKernels(
            store.folder / f"kernels-{self._device.sm}.bin", self._api, self._log
        )

    def _target(self) -> Target:
        if not self._api.tunes:
            return Target.portable(self.version, self._device.sm)
        return Target(
            tensorrt=self.version,
            device=self._device.name,
            sm=self._device.sm,
            cuda=self._device.cuda,
            power_mode=machine.read_machine().power_mode,
            platform=machine.platform(),
        )

    def _make_runtime(self) -> Any:
        runtime = need(
            self._log, "cannot make a runtime", self._api.module.Runtime, self._log.native
        )
        if self.options.version_compatible:
            runtime.engine_host_code_allowed = True  # our own plans, verified by their hash
        if self.options.version_compatible and self.options.lean_library is not None:
            self._full_runtime = runtime  # outlives the lean one that it loads
            library = self.options.lean_library
            runtime = need(self._log, f"cannot load {library}", runtime.load_runtime, library)
            runtime.engine_host_code_allowed = True
        return runtime

    def _run(self, segment: Segment, x: Bytes | Tokens, faces: int) -> Outputs:
        batch = self.computed(faces)
        source = self._pool.lease_of(x).memory if isinstance(x, Tokens) else self._images.address
        loaded = self._load(segment, batch)
        lease = None if segment.tail else self._pool.lend()
        self._begin.record(self._device.stream)
        if not isinstance(x, Tokens):
            self._upload(x, faces)
        outputs, exits = self._outputs, segment.last - segment.first + 1
        target = None if lease is None else lease.memory
        loaded.enqueue(source, outputs.scores, target, outputs.causes)
        outputs.download(batch, exits)
        self._end.record(self._device.stream)
        self._device.synchronise()
        self.device_ms[segment] = float(self._end.time_since(self._begin))
        tokens = None if lease is None else Tokens(faces, segment.last, lease)
        return Outputs(tokens, *outputs.read(batch, exits, faces))

    def _upload(self, images: Bytes, faces: int) -> None:
        self._images.host[:faces] = images
        self._images.upload(faces * IMAGE * IMAGE * 3)

    def _keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        source, kept = self._pool.lease_of(tokens), self._pool.lend()
        self._device.gather(source.memory, kept.memory, rows, self._row_bytes)
        return Tokens(len(rows), tokens.block, kept)

    def _load(self, segment: Segment, batch: int) -> LoadedSegment:
        if (segment, batch) not in self._loaded:
            data = self._supply.take(segment, self._size(batch))
            what = f"cannot load the plan of {segment.name}"
            engine = need(self._log, what, self._runtime.deserialize_cuda_engine, data)
            loaded = LoadedSegment(
                segment.name,
                engine,
                batch,
                self._device,
                self._scratch,
                self._graphs,
                self._log,
                self._kernels,
            )
            self.check_causes(f"the plan of {segment.name}", loaded.causes)
            self._loaded[segment, batch] = loaded
        return self._loaded[segment, batch]

    def _list_kernels(self, segment: Segment, batch: int) -> list[PlanKernel]:
        return kernels_of(self._load(segment, batch).engine, self._api.module)

    def _prepare(self, keys: PlanKeys) -> None:
        missing = [key for key in keys if key not in self._loaded]
        with self._supply.numbered_builds(
            [(segment, self._size(batch)) for segment, batch in missing]
        ):
            for segment, batch in missing:
                self._load(segment, batch)
        if self._kernels is not None:
            self._kernels.save()

    def _ahead(self) -> None:
        """Build and save all plans now. They are loaded when needed, or now where none can be kept."""
        keys = [(s, batch) for batch in self.options.batches for s in sorted(self.segments)]
        if self._supply.store.keeps:
            self._supply.build([(segment, self._size(batch)) for segment, batch in keys])
        else:
            self._prepare(keys)

    def _size(self, batch: int) -> int:
        """The batch size in the plan's name."""
        return self.max_batch if self.options.dynamic else batch

    def _release(self) -> None:
        with suppress(
            EngineFailed
        ):  # the call during which the device failed has raised it already
            self._device.synchronise()
        if self._kernels is not None:
            self._kernels.save()
        for loaded in self._loaded.values():
            loaded.close()
        self._loaded.clear()
        self._drop()

    def _drop(self) -> None:
        """Free all that the context owns, then the context. Also of an engine that did not open."""
        if hasattr(self, "_supply"):
            self._supply.store.close()
        for name in IN_THE_CONTEXT:
            vars(self).pop(name, None)
        self._device.close()

    # ---- on the caller's thread

    def _wait(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self._closed:
            raise EngineFailed("this engine is closed")
        if os.getpid() != self._process:
            raise EngineFailed(f"this engine was opened before a fork; {AFTER_FORK}")
        try:
            return self._owner.call(call, *arguments)
        except DriverError as exc:
            raise EngineFailed(f"the device failed: {exc}") from exc
        except KeyboardInterrupt:
            self._cancelled.set()  # stops a build at its next step
            self._owner.call(self._resume)  # runs once the build has stopped
            raise

    def _resume(self) -> None:
        if not self._closed:
            self._cancelled.clear()


class TensorRTForRTX(TensorRT):
    """The same over the other library, which compiles for the device when it loads a plan."""

    backend = "rtx"
