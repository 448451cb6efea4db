"""Similarities and qualities become rows: what a quality is worth to a recogniser on a data set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.bootstrap import identity_weights, interval, weighted_pauc
from edge_fiqa.evaluation.crfiqa import edc_crfiqa
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.evaluation.edc import Edc, edc_fixed, relative_pauc, threshold_at_fmr
from edge_fiqa.evaluation.scored_pairs import ScoredPairs, score_pairs
from edge_fiqa.types import Floats

GRID = 121  # points of a kept curve


class WorthRow(Struct, frozen=True, kw_only=True):
    """One quality. pauc: protocol fixed, to the plan's limit; low, high: its 95 % interval by
    identity; relative: 0 is the theoretical best, 1 random (None without errors). crfiqa: the area
    to the same limit with a moving threshold, and to 0.95; None where not resolved."""

    data: str
    recogniser: str
    group: str
    fmr: float
    quality: str
    pauc: float
    low: float
    high: float
    relative: float | None
    crfiqa: float | None
    crfiqa_95: float | None


class Cell(Struct, frozen=True, kw_only=True):
    """A recogniser on a data set at one FMR. unresolved: why there is no number, else None.
    curves: quality -> FNMR at GRID discards from 0 to the limit."""

    data: str
    recogniser: str
    group: str
    fmr: float
    mated: int
    non_mated: int
    fnmr: float | None = None
    errors: int | None = None
    unresolved: str | None = None
    curves: dict[str, list[float]] = field(default_factory=dict)


def measure(
    pairs: FacePairs,
    recogniser: str,
    group: str,
    similarity: Floats,
    qualities: Mapping[str, Floats],
    *,
    fmrs: Iterable[float],
    limit: float,
    resamples: int,
    curves_of: Collection[str],
) -> tuple[list[Cell], list[WorthRow]]:
    """similarity: (P,); qualities: of pairs (P,), NaN where undefined (those leave first).

    Raises ConfigError if there are too few pairs to speak of a rate.
    """
    where = f"{pairs.name}, {recogniser}"
    scored = {
        name: score_pairs(similarity, pairs.same, quality, pairs.identity, where=where)
        for name, quality in qualities.items()
    }
    any_one = next(iter(scored.values()))
    any_one.need_enough(where)
    genuine, impostor = any_one.genuine, any_one.impostor
    people = (
        np.arange(genuine.size) if any_one.identity is None else (any_one.identity[any_one.same])
    )
    weights = identity_weights(people, resamples)
    cells, rows = [], []
    for fmr in fmrs:
        cell = Cell(
            data=pairs.name,
            recogniser=recogniser,
            group=group,
            fmr=fmr,
            mated=genuine.size,
            non_mated=impostor.size,
        )
        try:
            threshold = threshold_at_fmr(impostor, fmr)
        except ConfigError as exc:
            cells.append(replace(cell, unresolved=str(exc)))
            continue
        wrong, curves = int((genuine < threshold).sum()), {}
        for name, one in scored.items():
            row, curve = _row(cell, name, one, threshold, limit, weights)
            rows.append(row)
            if name in curves_of:
                curves[name] = [round(curve.at(d), 6) for d in np.linspace(0, limit, GRID)]
        cells.append(replace(cell, fnmr=wrong / genuine.size, errors=wrong, curves=curves))
    return cells, rows


def _row(
    cell: Cell, name: str, pairs: ScoredPairs, threshold: float, limit: float, weights: Floats
) -> tuple[WorthRow, Edc]:
    genuine, quality = pairs.genuine, pairs.quality[pairs.same]
    curve = edc_fixed(genuine, quality, threshold)
    pauc = curve.pauc(limit)
    low, high = interval(weighted_pauc(genuine, quality, threshold, limit, weights))
    relative = relative_pauc(pauc, curve.at(0), limit)
    moving = edc_crfiqa(pairs.similarity, pairs.same, pairs.quality, cell.fmr)
    row = WorthRow(
        data=cell.data,
        recogniser=cell.recogniser,
        group=cell.group,
        fmr=cell.fmr,
        quality=name,
        pauc=pauc,
        low=low,
        high=high,
        relative=None if np.isnan(relative) else relative,
        crfiqa=moving.area(limit) if moving.resolves(cell.fmr, limit) else None,
        crfiqa_95=moving.area() if moving.resolves(cell.fmr) else None,
    )
    return row, curve


def averages(rows: Iterable[WorthRow]) -> dict[tuple[str, float], dict[str, float]]:
    """(group, FMR) -> quality -> mean relative pAUC over data sets and recognisers.

    Only over cells in which every quality of the group has a number, so that means compare.
    """
    table: dict[tuple[str, float], dict[tuple[str, str], dict[str, float]]] = {}
    for row in rows:
        cell = table.setdefault((row.group, row.fmr), {}).setdefault((row.data, row.recogniser), {})
        if row.relative is not None:
            cell[row.quality] = row.relative
    found = {}
    for key, cells in table.items():
        filled = [cell for cell in cells.values() if cell]
        common = set.intersection(*map(set, filled)) if filled else set()
        if common:
            names = [name for name in filled[0] if name in common]
            found[key] = {n: float(np.mean([cell[n] for cell in filled])) for n in names}
    return found
