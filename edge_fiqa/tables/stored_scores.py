"""Scores of a data set's faces, read back from records, so that a set is scored once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.tables.score_set import ScoreSet
from edge_fiqa.types import Array, Floats

RecordRow = dict[str, Any]


def stored_trails(score_set: ScoreSet, names: Sequence[str], fingerprint: str) -> Array:
    """(N, E) float32 raw scores of every exit, NaN for a face without a score.

    names: (N,) of faces, as records name their source or as it ends. fingerprint: of the model.
    Raises ConfigError for a face that has no record or several, for records of another model, and for
    scores that stopped early.
    """
    rows = _rows_of(score_set, names)
    place = score_set.place.name
    for name in names:
        quality, scores = rows[name]["quality"], rows[name]["exit"]["scores"]
        if quality["algorithm"]["fingerprint"] != fingerprint:
            raise ConfigError(
                f"{place} was scored with {quality['algorithm']['name']} "
                f"{quality['algorithm']['fingerprint'][:19]}, the model here is {fingerprint[:19]}"
            )
        if quality["code"] == "ok" and None in scores:
            raise ConfigError(
                f"{place}: {name} stopped after exit {rows[name]['exit']['depth']}; score the set to "
                "full depth, with --all-exits"
            )
    trails = [
        [np.nan if score is None else score for score in rows[name]["exit"]["scores"]]
        for name in names
    ]
    return np.array(trails, np.float32)


def stored_raw(score_set: ScoreSet, names: Sequence[str]) -> Floats:
    """(N,) fused raw scores, NaN for a face without one. Raises ConfigError as `stored_trails`."""
    rows = _rows_of(score_set, names)
    raw = [rows[name]["quality"]["raw"] for name in names]
    return np.array([np.nan if score is None else score for score in raw], np.float64)


def _rows_of(score_set: ScoreSet, names: Sequence[str]) -> Mapping[str, RecordRow]:
    """Name -> its only record."""
    wanted, rows = set(names), dict[str, RecordRow]()
    for row in _named_rows(score_set):
        name = next((end for end in _ends(row["source"]) if end in wanted), None)
        if name is None:
            continue
        if name in rows:
            raise ConfigError(
                f"{score_set.place.name}: {name} may be {rows[name]['id']} or {row['id']}: a data set "
                "has one face a picture (--largest), and names that tell its pictures apart"
            )
        rows[name] = row
    if absent := [name for name in names if name not in rows]:
        raise ConfigError(
            f"{score_set.place.name}: no record of {len(absent)} of {counted(len(names), 'face')}, "
            "such as "
            f"{absent[0]}; score them into this set"
        )
    return rows


def _named_rows(score_set: ScoreSet) -> Iterator[RecordRow]:
    for batch in score_set.batches(["id", "source", "quality", "exit"]):
        yield from batch.to_pylist()


def _ends(source: str) -> Iterator[str]:
    """a/b/c.jpg, b/c.jpg, c.jpg"""
    yield source
    while "/" in source:
        source = source.partition("/")[2]
        yield source
