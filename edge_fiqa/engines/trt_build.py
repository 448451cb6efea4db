"""One segment's ONNX file -> a TensorRT plan, here or in a child process.

The network is strongly typed: precision is in the graph, no precision flag exists in the code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.trt_api import CAN_BUILD, VERSION, Log, logger, make, need, trt
from edge_fiqa.errors import EngineFailed

SHORT_MB = 4096
"""Below this much available memory, `child: auto` builds in a child process."""


class Job(Struct, frozen=True):
    """batch: the static size, or with options.dynamic the largest. timing: the cache file."""

    name: str
    onnx: str
    batch: int
    options: PlanOptions
    timing: str


class Progress(trt.IProgressMonitor):  # type: ignore[misc]
    """Reports phases to `logging`, and cancels a build whose process was asked to stop."""

    def __init__(self, name: str, cancelled: threading.Event) -> None:
        trt.IProgressMonitor.__init__(self)
        self._name, self._cancelled = name, cancelled

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if not parent_phase:
            logger.info("%s: %s, %d steps", self._name, phase_name, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        return not self._cancelled.is_set()

    def phase_finish(self, phase_name: str) -> None:
        logger.debug("%s: %s done", self._name, phase_name)


def build_plan(job: Job, log: Log, cancelled: threading.Event) -> bytes:
    """The serialised plan. The timing cache file is read before and rewritten after.

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
    _configure(config, job, cancelled)
    profile = _shape(builder, network, config, job, log)
    cache = _timing_cache(config, Path(job.timing))
    plan = builder.build_serialized_network(network, config)
    if cancelled.is_set():
        raise EngineFailed(f"building {job.name} was stopped")
    data = bytes(need(plan, f"cannot build {job.name} for batch {job.batch}", log))
    if cache is not None:
        _keep(Path(job.timing), config)
    del profile, cache  # both must outlive the build
    return data


def build_in_child(job: Job, cancelled: threading.Event) -> bytes:
    """`build_plan` in a process of its own, whose memory goes back to the system when it ends."""
    with tempfile.TemporaryDirectory(prefix="edge_fiqa.") as folder:
        request, answer = Path(folder) / "job.json", Path(folder) / "plan"
        request.write_bytes(msgspec.json.encode(job))
        command = [sys.executable, "-m", "edge_fiqa.engines.trt_build", str(request), str(answer)]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while True:
            try:
                said = child.communicate(timeout=0.2)[1]
                break
            except subprocess.TimeoutExpired:
                if cancelled.is_set():
                    child.terminate()
        if child.returncode == 0 and answer.exists():
            return answer.read_bytes()
    if cancelled.is_set():
        raise EngineFailed(f"building {job.name} was stopped")
    if child.returncode == -signal.SIGKILL:
        raise EngineFailed(
            f"building {job.name} was killed, most likely for want of memory: add swap, "
            "stop other programs, or lower workspace_mb"
        )
    last = said.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
    raise EngineFailed(f"building {job.name} in a child process failed: {last[0]}")


def _configure(config: Any, job: Job, cancelled: threading.Event) -> None:
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
    config.progress_monitor = Progress(job.name, cancelled)


def _shape(builder: Any, network: Any, config: Any, job: Job, log: Log) -> Any:
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
    data = path.read_bytes() if path.exists() else b""
    for content in (data, b""):  # a foreign or damaged file is dropped
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _keep(path: Path, config: Any) -> None:
    cache = config.get_timing_cache()
    data = None if cache is None else cache.serialize()
    if data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(bytes(data))
        fresh.replace(path)


def _described(error: Any) -> str:
    return f"{error.desc()} (node {error.node()} {error.node_name()}, {error.node_operator()})"


def main(arguments: list[str]) -> int:
    """What the child process runs: JOB.json PLAN."""
    from edge_fiqa.engines.trt_device import Device
    from edge_fiqa.errors import EdgeFiqaError

    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    try:
        job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Job)
        with Device() as _:
            Path(arguments[1]).write_bytes(build_plan(job, Log(), cancelled))
    except EdgeFiqaError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
