"""What a Parquet data set of records holds, as one page."""

from __future__ import annotations

from edge_fiqa.tables.score_set import ScoreSet


def summary_page(score_set: ScoreSet) -> str:
    return score_set.place.name
