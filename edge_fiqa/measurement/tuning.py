"""Which form of a shipped model is fastest on this machine, measured."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.engines.forms import PORTABLE_BACKENDS, TunedForm, is_installed
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.all_exits import synthetic_faces

ROUNDS, WARM_UP = 30, 3


def fastest_form(model: str, threads: int, rounds: int = ROUNDS) -> TunedForm:
    """Times one face to full depth in every form on every installed backend, in turn.

    Taking turns, all of them see the same load and clocks. Raises EngineFailed.
    """
    ms: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as opened:
        engines = {
            (precision, backend): opened.enter_context(
                open_engine(Bundle.open(folder), backend, threads)
            )
            for precision, folder in SHIPPED_FORMS[model].items()
            for backend in PORTABLE_BACKENDS
            if is_installed(backend)
        }
        for _ in range(rounds + WARM_UP):
            for key, engine in engines.items():
                ms.setdefault(key, []).append(_full_depth_ms(engine))
    medians = {key: statistics.median(times[WARM_UP:]) for key, times in ms.items()}
    precision, backend = min(engines, key=lambda key: medians[key])
    rounded = {" ".join(key): round(median, 3) for key, median in medians.items()}
    return TunedForm(precision, backend, rounded)


def _full_depth_ms(engine: Engine) -> float:
    (segment,) = route_to(engine.segments, engine.config.depth)
    face = synthetic_faces(1)
    begin = time.perf_counter()
    engine.run(segment, face)
    return 1e3 * (time.perf_counter() - begin)
