"""Similarities and qualities become rows: what a quality is worth to a recogniser on a data set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.bootstrap import identity_weights, interval, weighted_pauc
from edge_fiqa.evaluation.crfiqa import edc_crfiqa
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.evaluation.edc import Edc, edc_fixed, relative_pauc, threshold_at_fmr
from edge_fiqa.evaluation.scored_pairs import ScoredPairs, score_pairs
from edge_fiqa.types import Floats

GRID = 121  # points of a stored curve


class WorthRow(Struct, frozen=True, kw_only=True):
    """What one quality is worth to a recogniser, on one data set, at one FMR.

    pauc: protocol fixed, to the plan's limit. low, high: its 95 % interval, by identity.
    relative: pAUC on a scale where 0 is the theoretical best and 1 is random; None without errors.
    crfiqa, crfiqa_95: the area with a moving threshold, to the limit and to 0.95; None where the FMR is
    not resolved.
    """

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
    """A recogniser on a data set at one FMR.

    unresolved: why there is no number, else None. curves: quality -> FNMR at GRID discards from 0 to
    the limit.
    """

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


def evaluate_qualities(
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
    """similarity: (P,). qualities: name -> (P,) of pairs; NaN counts as the worst quality.

    Raises ConfigError if there are too few mated pairs for a rate.
    """
    where = f"{pairs.name}, {recogniser}"
    scored = {
        name: score_pairs(similarity, pairs.same, quality, pairs.identity, where=where)
        for name, quality in qualities.items()
    }
    compared = next(iter(scored.values()))  # the same pairs for every quality
    compared.need_enough(where)
    weights = identity_weights(_people(compared), resamples)
    cells: list[Cell] = []
    rows: list[WorthRow] = []
    for fmr in fmrs:
        cell = Cell(
            data=pairs.name,
            recogniser=recogniser,
            group=group,
            fmr=fmr,
            mated=compared.genuine.size,
            non_mated=compared.impostor.size,
        )
        more_rows, cell = _cell_rows(cell, compared, scored, limit, weights, curves_of)
        rows += more_rows
        cells.append(cell)
    return cells, rows


def _cell_rows(
    cell: Cell,
    compared: ScoredPairs,
    scored: Mapping[str, ScoredPairs],
    limit: float,
    weights: Floats,
    curves_of: Collection[str],
) -> tuple[list[WorthRow], Cell]:
    """The rows of a cell, and the cell with its numbers, or with the reason for having none."""
    try:
        threshold = threshold_at_fmr(compared.impostor, cell.fmr)
    except ConfigError as exc:
        return [], replace(cell, unresolved=str(exc))
    rows, curves = [], {}
    for name, pairs in scored.items():
        row, curve = _row(cell, name, pairs, threshold, limit, weights)
        rows.append(row)
        if name in curves_of:
            curves[name] = [round(curve.at(d), 6) for d in np.linspace(0, limit, GRID)]
    errors = int((compared.genuine < threshold).sum())
    return rows, replace(cell, fnmr=errors / cell.mated, errors=errors, curves=curves)


def _people(pairs: ScoredPairs) -> npt.NDArray[Any]:
    """(M,) whose the mated pairs are; each pair for itself where that is not known."""
    if pairs.identity is None:
        return np.arange(pairs.genuine.size)
    return pairs.identity[pairs.same]


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
    means = {key: _means([cell for cell in cells.values() if cell]) for key, cells in table.items()}
    return {key: values for key, values in means.items() if values}


def _means(cells: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the qualities that all cells have."""
    if not cells:
        return {}
    common = set.intersection(*map(set, cells))
    names = [name for name in cells[0] if name in common]
    return {name: float(np.mean([cell[name] for cell in cells])) for name in names}
