"""Pairs of faces, as the command line names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_fiqa.evaluation.datasets.lists import parse_csv
from edge_fiqa.types import FaceSet, Rows


def read_pairs(path: Path, faces: FaceSet) -> Rows:
    """(P, 3): rows of both faces, and 1 for one person, 0 for two. Pairs of other files are ignored."""
    row_of = {name: row for row, name in enumerate(faces.names)}
    pairs = [
        (row_of[a], row_of[b], int(same))
        for a, b, same in parse_csv(path)[0]
        if a in row_of and b in row_of
    ]
    return np.array(pairs, np.intp).reshape(-1, 3)
