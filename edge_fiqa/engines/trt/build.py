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
from edge_fiqa.kept import kept_or_none, write_kept

OnProgress = Callable[[str, float], None]
"""Called with the builder's phase, and with the share of its steps that is done, 0 to 1."""


class PlanJob(Struct, frozen=True):
    """batch: the static size, or with options.dynamic the largest. timing: the cache file."""

    name: str
    onnx: str
    batch: int
    options: PlanOptions
    timing: str


class BuildMonitor(trt.IProgressMonitor):  # type: ignore[misc]
    """Says how far a build is, and cancels it once `cancelled` is set. Called from any thread."""

    def __init__(self, on_progress: OnProgress, cancelled: threading.Event) -> None:
        trt.IProgressMonitor.__init__(self)
        self._on_progress, self._cancelled, self._phases = on_progress, cancelled, BuildPhases()
        self._reporting = threading.Lock()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._phases.start(phase_name, parent_phase, num_steps)
        self._report()

    def step_complete(self, phase_name: str, step: int) -> bool:
        self._phases.step(phase_name)
        self._report()
        return not self._cancelled.is_set()

    def phase_finish(self, phase_name: str) -> None:
        self._phases.finish(phase_name)
        self._report()

    def _report(self) -> None:
        # A closed terminal, or a parent process that has ended, is no reason for the build to fail.
        with self._reporting, contextlib.suppress(OSError, ValueError):
            self._on_progress(*self._phases.now())


def build_plan(
    job: PlanJob, log: Log, cancelled: threading.Event, on_progress: OnProgress
) -> bytes:
    """The serialised plan. A CUDA driver must have been found before.

    The timing cache file is read before the build and rewritten after it. That is also done after a
    cancelled build, since what it has timed need not be timed again.
    Raises EngineFailed with the words of the parser or of the log.
    """
    if not CAN_BUILD:
        raise EngineFailed(
            f"{job.name}: only TensorRT's lean runtime is installed, which cannot build plans; "
            "build them with the full TensorRT and version_compatible: true"
        )
    builder = make(trt.Builder, "a builder", log, log)
    network, parser = _parsed(builder, job.onnx, log)
    config = need(builder.create_builder_config(), "cannot make a configuration", log)
    monitor = BuildMonitor(on_progress, cancelled)
    _configure(config, job, monitor)
    profile = _fix_batch(builder, network, config, job, log)
    timings = _timing_cache(config, Path(job.timing))
    plan = builder.build_serialized_network(network, config)
    if timings is not None:
        _save_timings(Path(job.timing), config)
    del parser, profile, timings, monitor  # TensorRT uses them until the build ends
    if plan is None and cancelled.is_set():
        raise EngineFailed(f"building {job.name} was stopped")
    return bytes(need(plan, f"cannot build {job.name} for batch {job.batch}", log))


def _parsed(builder: Any, onnx: str, log: Log) -> tuple[Any, Any]:
    """The network of an ONNX file, and the parser, which must live as long as the network."""
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = need(builder.create_network(typed), "cannot make a network", log)
    parser = make(trt.OnnxParser, "a parser", log, network, log)
    # By path: the large constants lie beside the graph, in weights.bin.
    if not parser.parse_from_file(onnx):
        errors = "; ".join(_described(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineFailed(f"TensorRT {VERSION} cannot parse {onnx}: {errors or log.take()}")
    return network, parser


def _configure(config: Any, job: PlanJob, monitor: BuildMonitor) -> None:
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
    config.progress_monitor = monitor


def _fix_batch(builder: Any, network: Any, config: Any, job: PlanJob, log: Log) -> Any:
    """Give the one input its batch size, or with options.dynamic a profile.

    Returns the profile, which must live until the build ends, or None.
    """
    source = network.get_input(0)
    face_shape = tuple(source.shape)[1:]
    if not job.options.dynamic:
        source.shape = (job.batch, *face_shape)
        return None
    profile = need(builder.create_optimization_profile(), "cannot make a profile", log)
    usual = job.options.batches[len(job.options.batches) // 2]
    shapes = [(batch, *face_shape) for batch in (1, usual, job.batch)]
    profile.set_shape(source.name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise EngineFailed(f"TensorRT {VERSION} refuses the profile of {job.name}: {log.take()}")
    return profile


def _timing_cache(config: Any, path: Path) -> Any:
    """The cache that all segments share, so that equal blocks are timed once. None without one."""
    data = kept_or_none(path, path.name) or b""
    for content in (data, b""):  # a foreign or damaged file is dropped
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _save_timings(path: Path, config: Any) -> None:
    """Write the timings, whole or not at all. Without them, later builds take longer."""
    cache = config.get_timing_cache()
    data = None if cache is None else cache.serialize()
    if data is None:
        return
    try:
        write_kept(path, bytes(data), path.name)
    except OSError as exc:
        logger.warning("%s: %s; timings are not kept, later builds take longer", path, exc.strerror)


def _described(error: Any) -> str:
    return f"{error.desc()} (node {error.node()} {error.node_name()}, {error.node_operator()})"
