"""One segment's ONNX file -> a plan, in this process.

The network is strongly typed: precision is in the graph, no precision flag exists in the code.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.trt.api import Log, logger, need
from edge_fiqa.engines.trt.build_monitor import BuildMonitor, OnProgress, native_monitor
from edge_fiqa.engines.trt.graph_form import fused_graph
from edge_fiqa.errors import EngineFailed, one_line
from edge_fiqa.kept import kept_or_none, write_kept

ADVICE = {
    "workspace limit": "raise workspace_mb (it is {0.workspace_mb}), or set it to 0",
    "OutOfMemory": "raise workspace_mb (it is {0.workspace_mb}), or free memory",
    "libnvinfer_lean": "install the lean runtime of the same version (pip install tensorrt-lean, "
    "apt-get install libnvinfer-lean10), or set version_compatible: false",
    "FP32 GEMM is not supported": "this library multiplies float32 on compute capability 8.0 and "
    "later only: leave 7.5 out",
}
"""What to do about an error, by words in it. {0}: the options."""


class PlanJob(Struct, frozen=True):
    """batch: the static size, or with options.dynamic the largest. timing: the cache file.

    capabilities: what to build for, as in "8.9", where the library builds without a device.
    """

    name: str
    onnx: str
    batch: int
    options: PlanOptions
    timing: str = ""
    capabilities: tuple[str, ...] = ()


def build_plan(
    job: PlanJob, log: Log, cancelled: threading.Event, on_progress: OnProgress
) -> bytes:
    """The serialised plan. TensorRT's builder needs a CUDA driver, which must have been found before.

    The timing cache file is read before the build and rewritten after it. That is also done after a
    cancelled build, since what it has timed need not be timed again.
    Raises EngineFailed with the words of the parser or of the log, and what a callback raised.
    """
    module = log.api.module
    if not log.api.can_build:
        raise EngineFailed(
            f"{job.name}: only TensorRT's lean runtime is installed, which cannot build plans; "
            "build them with the full TensorRT and version_compatible: true"
        )
    builder = need(log, "cannot make a builder", module.Builder, log.native)
    network, parser = _parsed(builder, job.onnx, log)
    config = need(log, "cannot make a configuration", builder.create_builder_config)
    monitor = BuildMonitor(on_progress, cancelled)
    config.progress_monitor = native = native_monitor(module, monitor)
    _configure(config, job, log)
    profile = _fix_batch(builder, network, config, job, log)
    timings = _timing_cache(config, Path(job.timing)) if log.api.tunes else None
    log.clear()
    plan = builder.build_serialized_network(network, config)
    if timings is not None:
        _save_timings(Path(job.timing), config)
    del parser, profile, timings, native  # the library uses them until the build ends
    if plan is not None:
        return bytes(plan)
    raise _reason(job, log, cancelled, monitor)


def _reason(
    job: PlanJob, log: Log, cancelled: threading.Event, monitor: BuildMonitor
) -> BaseException:
    """Why there is no plan. The log says that a build was cancelled, not why."""
    text = log.take()
    if monitor.error is not None:
        return monitor.error
    if cancelled.is_set():
        return EngineFailed(f"building {job.name} was stopped")
    advice = [what.format(job.options) for words, what in ADVICE.items() if words in text]
    text = f"{log.api} cannot build {job.name} for batch {job.batch}: {text}"
    return EngineFailed("; ".join([text, *advice]))


def _parsed(builder: Any, onnx: str, log: Log) -> tuple[Any, Any]:
    """The network of an ONNX file, and the parser, which must live as long as the network."""
    module = log.api.module
    typed = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = need(log, "cannot make a network", builder.create_network, typed)
    parser = need(log, "cannot make a parser", module.OnnxParser, network, log.native)
    log.clear()
    # With its path: the large constants lie beside the graph, in weights.bin.
    graph = fused_graph(onnx)
    parsed = parser.parse_from_file(onnx) if graph is None else parser.parse(graph, onnx)
    if not parsed:
        raise EngineFailed(f"{log.api} cannot parse {onnx}: {_parser_errors(parser, log)}")
    if network.get_input(0) is None:  # an empty file is a valid graph without anything
        log.clear()
        raise EngineFailed(f"{onnx} holds no network: it is empty or damaged; rebuild the bundle")
    return network, parser


def _parser_errors(parser: Any, log: Log) -> str:
    """One line. Which file is missing or too short stands in the log alone."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    errors = [error for error in errors if error is not None]
    of_nodes = [_described(error) for error in errors if error.node() >= 0]
    logged = log.take()
    return one_line("; ".join(of_nodes)) or logged


def _described(error: Any) -> str:
    reason = error.desc().strip()
    if reason in ("", "false"):  # all that is said of an unknown operator
        reason = "is not supported"
    return f"node {error.node()} {error.node_name()} ({error.node_operator()}): {reason}"


def _configure(config: Any, job: PlanJob, log: Log) -> None:
    """Hand the options on. What is refused is only in the log."""
    module, options = log.api.module, job.options
    log.clear()
    if options.workspace_mb:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.builder_optimization_level = options.level
    config.max_aux_streams = 0  # one stream: small segments gain nothing, and graphs stay simple
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # names its kernels
    if not options.tf32:
        config.clear_flag(module.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)
        if options.lean_library is not None:
            config.set_flag(module.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    if job.capabilities:
        _target(config, job.capabilities, log)
    if log.has_errors:
        raise EngineFailed(f"{log.api} refuses the options of {job.name}: {log.take()}")


def _target(config: Any, capabilities: tuple[str, ...], log: Log) -> None:
    """Build for these compute capabilities, not for the device that is here."""
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        member = log.api.capability(capability)
        need(log, f"refuses {capability}", config.set_compute_capability, member, index)


def _fix_batch(builder: Any, network: Any, config: Any, job: PlanJob, log: Log) -> Any:
    """Give the one input its batch size, or with options.dynamic a profile.

    Returns the profile, which must live until the build ends, or None.
    """
    source = network.get_input(0)
    face_shape = tuple(source.shape)[1:]
    if not job.options.dynamic:
        source.shape = (job.batch, *face_shape)
        return None
    profile = need(log, "cannot make a profile", builder.create_optimization_profile)
    usual = job.options.batches[len(job.options.batches) // 2]
    shapes = [(batch, *face_shape) for batch in (1, usual, job.batch)]
    profile.set_shape(source.name, *shapes)
    log.clear()
    if config.add_optimization_profile(profile) < 0:
        raise EngineFailed(f"{log.api} refuses the profile of {job.name}: {log.take()}")
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
