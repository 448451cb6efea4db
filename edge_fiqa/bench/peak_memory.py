"""Peak memory of one way to score, in a process of its own that does nothing else."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from edge_fiqa.bench.libraries import device_peak_mb
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Policy
from edge_fiqa.scoring.controller import Controller


def peak_memory(
    folder: Path, backend: str, threads: int | None, policies: list[Policy], batch: int
) -> tuple[float, float | None]:
    """(MB resident, MB on the device or None) at most, from the start of Python to two batches."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_mb, folder, backend, threads, policies, batch).result()


def _peak_mb(
    folder: Path, backend: str, threads: int | None, policies: list[Policy], batch: int
) -> tuple[float, float | None]:
    with open_engine(Bundle.open(folder), backend, threads) as engine:
        for _ in range(2):
            Controller(engine).assess(synthetic_faces(batch), policies)
        return round(_resident_peak_mb(), 1), device_peak_mb(engine.device)


def _resident_peak_mb() -> float:
    """VmHWM; getrusage's figure would include the parent's memory from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024e-6 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1e-6 if sys.platform == "darwin" else 1024e-6)
