"""Does an engine run here, and does it give the bundle's golden scores?

Each is tried in a process of its own: a library made for another processor dies of SIGILL when it is
imported, and one that waits for a device may never come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import GOLDEN_FACES
from edge_fiqa.doctor.device_check import TOLERANCE
from edge_fiqa.doctor.own_process import PLANS_S, Died, in_own_process
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces

TIMEOUT_S = {"trt": PLANS_S, "rtx": PLANS_S}
"""Seconds, where it is not 600."""


@dataclass(frozen=True)
class EngineCheck:
    """text: one line, with the reason where the engine is not usable."""

    usable: bool
    text: str


def check_engine(backend: str, bundle: Bundle) -> EngineCheck:
    """`compare_with_golden` in a process of its own, whose death is a verdict as well."""
    try:
        return in_own_process(
            compare_with_golden, backend, bundle.folder, timeout_s=TIMEOUT_S.get(backend, 600.0)
        )
    except Died as exc:
        return EngineCheck(False, f"no: its library {exc}")


def compare_with_golden(backend: str, folder: Path) -> EngineCheck:
    """Opens the engine with one thread, and compares every exit with the golden scores."""
    bundle = Bundle.open(folder)
    try:
        with open_engine(bundle, backend, threads=1) as engine:
            scores = all_exits(engine, synthetic_faces(GOLDEN_FACES))
    except EdgeFiqaError as exc:
        return EngineCheck(False, f"no: {exc}")
    difference = float(np.abs(scores - np.array(bundle.manifest.golden)).max())
    limit = TOLERANCE[bundle.manifest.precision]
    if not difference <= limit:  # NaN, too
        return EngineCheck(
            False, f"runs but is WRONG: scores differ by {difference:.1e} (limit {limit:.0e})"
        )
    return EngineCheck(True, f"yes: every exit agrees with the golden scores, to {difference:.1e}")
