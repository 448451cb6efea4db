"""The measured cost table of an engine, kept for the next process on this machine.

    <cache>/edge_fiqa/costs/<digest>.json

The digest is of all that the table depends on: processor and device, the processors that this process
may use, backend, its version, threads, the form of TensorRT's graphs, and every file of the bundle.
What changes from hour to hour (load, clocks, temperature) is the live load factor's business, as it
is with a table that was measured when the bundle was built.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from pathlib import Path

import msgspec

from edge_fiqa import __version__
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import SegmentCost
from edge_fiqa.engines import LIBRARIES, cores
from edge_fiqa.engines.base import Engine
from edge_fiqa.engines.processor import this_processor
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.files import cache_folder
from edge_fiqa.kept import kept_or_none, why_not_kept, write_kept
from edge_fiqa.measurement.segment_costs import library_version, measure_costs
from edge_fiqa.types import Segment

log = logging.getLogger("edge_fiqa.engines")

REPEATS = 10


def kept_cost_table(engine: Engine, bundle: Bundle) -> CostTable:
    """As an earlier process measured it, or measured now and kept if that is possible."""
    path, label = _place_of(engine, bundle)
    keeps = engine.backend in LIBRARIES and _keeps(path.parent)
    rows = _read(path, label) if keeps else None
    if rows is None or {_segment(row) for row in rows} != set(engine.segments):
        rows = measure_costs(engine, REPEATS)
        if keeps:
            _write(path, rows, label)
    ms = {_segment(row): row.ms for row in rows}
    return CostTable.of(engine.config, engine.segments, ms)


def _place_of(engine: Engine, bundle: Bundle) -> tuple[Path, str]:
    """Where the table is kept, and what it depends on."""
    version = library_version(engine) if engine.backend in LIBRARIES else ""
    files = sorted(bundle.manifest.files.items())
    place = (str(this_processor()), engine.device, engine.threads, cores(), _allowed())
    what = (*place, engine.backend, version, __version__, _graph_form(engine.backend), files)
    label = repr(what)
    digest = hashlib.sha256(label.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_folder("costs") / f"{digest}.json", label


def _allowed() -> list[int]:
    """Numbers of the processors that this process may use: small and big ones differ."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return sorted(affinity(0)) if affinity is not None else []


def _graph_form(backend: str) -> str:
    if backend not in ("trt", "rtx"):
        return ""
    from edge_fiqa.engines.trt.graph_form import form_here

    return form_here()


@functools.cache
def _keeps(folder: Path) -> bool:
    reason = why_not_kept(folder)
    if reason is not None and folder.is_dir():  # else a user without a home, or a read-only one
        log.warning("measured costs are not kept: %s, or set EDGE_FIQA_CACHE", reason)
    return reason is None


def _read(path: Path, label: str) -> tuple[SegmentCost, ...] | None:
    data = kept_or_none(path, label)
    try:
        return None if data is None else msgspec.json.decode(data, type=tuple[SegmentCost, ...])
    except msgspec.MsgspecError:  # whole by its digest, as one of another version would be
        return None


def _write(path: Path, rows: tuple[SegmentCost, ...], label: str) -> None:
    try:
        write_kept(path, msgspec.json.encode(rows), label)
    except OSError as exc:
        log.warning("%s: %s; measured costs are not kept", path, exc.strerror)


def _segment(row: SegmentCost) -> Segment:
    return Segment(row.first, row.last, row.tail)
