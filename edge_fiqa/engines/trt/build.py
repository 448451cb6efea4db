"""One segment's ONNX file -> a TensorRT plan, in this process.

The network is strongly typed: precision is in the graph, no precision flag exists in the code.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.build_progress import BuildPhases
from edge_fiqa.engines.trt.api import CAN_BUILD, VERSION, Log, logger, make, need, trt
from edge_fiqa.errors import EngineFailed
from edge_fiqa.files import write_whole

Heard = Callable[[str, float], None]
"""What the builder is at, and how much of the plan its steps say is done, 0 to 1."""


class PlanJob(Struct, frozen=True):
    """batch: the static size, or with options.dynamic the largest. timing: the cache file."""

    name: str
    onnx: str
    batch: int
    options: PlanOptions
    timing: str


class BuildMonitor(trt.IProgressMonitor):  # type: ignore[misc]
    """Says how far a build is, and cancels it once `cancelled` is set. Called from any thread."""

    def __init__(self, heard: Heard, cancelled: threading.Event) -> None:
        trt.IProgressMonitor.__init__(self)
        self._heard, self._cancelled, self._steps = heard, cancelled, BuildPhases()
        self._saying = threading.Lock()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._steps.start(phase_name, parent_phase, num_steps)
        self._say()

    def step_complete(self, phase_name: str, step: int) -> bool:
        self._steps.step(phase_name)
        self._say()
        return not self._cancelled.is_set()

    def phase_finish(self, phase_name: str) -> None:
        self._steps.finish(phase_name)
        self._say()

    def _say(self) -> None:
        # Whoever listens may be gone (a closed terminal, a parent that ended): no reason to fail here.
        with self._saying, contextlib.suppress(OSError, ValueError):
            self._heard(*self._steps.now())


def build_plan(job: PlanJob, log: Log, cancelled: threading.Event, heard: Heard) -> bytes:
    """The serialised plan. The timing cache file is read before, and rewritten after, also after a
    build that was cancelled: what it has timed need not be timed again.

    A CUDA driver must have been found before. Raises EngineFailed with the parser's or log's words.
    """
    if not CAN_BUILD:
        raise EngineFailed(
            f"{job.name}: only TensorRT's lean runtime is installed, which cannot build plans; "
            "build them with the full TensorRT and version_compatible: true"
        )
    builder = make(trt.Builder, "a builder", log, log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = need(builder.create_network(typed), "cannot make a network", log)
    parser = make(trt.OnnxParser, "a parser", log, network, log)
    # By path: the large constants lie beside the graph, in weights.bin.
    if not parser.parse_from_file(job.onnx):
        errors = "; ".join(_described(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineFailed(f"TensorRT {VERSION} cannot parse {job.onnx}: {errors or log.take()}")
    config = need(builder.create_builder_config(), "cannot make a configuration", log)
    progress = BuildMonitor(heard, cancelled)
    _configure(config, job, progress)
    profile = _shape(builder, network, config, job, log)
    cache = _timing_cache(config, Path(job.timing))
    plan = builder.build_serialized_network(network, config)
    if cache is not None:
        _keep(Path(job.timing), config)
    del profile, cache, progress  # they must outlive the build
    if plan is None and cancelled.is_set():
        raise EngineFailed(f"building {job.name} was stopped")
    return bytes(need(plan, f"cannot build {job.name} for batch {job.batch}", log))


def _configure(config: Any, job: PlanJob, progress: BuildMonitor) -> None:
    options = job.options
    if options.workspace_mb:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.builder_optimization_level = options.level
    config.max_aux_streams = 0  # one stream: small segments gain nothing, and graphs stay simple
    config.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.lean_library is not None:
            config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    config.progress_monitor = progress


def _shape(builder: Any, network: Any, config: Any, job: PlanJob, log: Log) -> Any:
    """Fix the batch size of the one input, or give it a profile. Returns what must stay alive."""
    entry = network.get_input(0)
    rest = tuple(entry.shape)[1:]
    if not job.options.dynamic:
        entry.shape = (job.batch, *rest)
        return None
    profile = need(builder.create_optimization_profile(), "cannot make a profile", log)
    best = job.options.batches[len(job.options.batches) // 2]
    profile.set_shape(entry.name, (1, *rest), (best, *rest), (job.batch, *rest))
    if config.add_optimization_profile(profile) < 0:
        raise EngineFailed(f"TensorRT {VERSION} refuses the profile of {job.name}: {log.take()}")
    return profile


def _timing_cache(config: Any, path: Path) -> Any:
    """The cache that all segments share, so that equal blocks are timed once. None without one."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    for content in (data, b""):  # a foreign or damaged file is dropped
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _keep(path: Path, config: Any) -> None:
    """Write the timings, whole or not at all. Without them, later builds take longer."""
    cache = config.get_timing_cache()
    data = None if cache is None else cache.serialize()
    if data is None:
        return
    try:
        write_whole(path, bytes(data))
    except OSError as exc:
        logger.warning("%s: %s; timings are not kept, later builds take longer", path, exc.strerror)


def _described(error: Any) -> str:
    return f"{error.desc()} (node {error.node()} {error.node_name()}, {error.node_operator()})"
