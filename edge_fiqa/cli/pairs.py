"""Pairs of faces, as the command line names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_fiqa.evaluation.datasets.lists import parse_csv
from edge_fiqa.types import FaceSet, Rows


def read_pairs(path: Path, references: FaceSet, probes: FaceSet) -> tuple[Rows, Rows]:
    """Pairs of a reference and a probe: rows of both in (P, 2), and (P,) 1 for one person, 0 for two.

    path_a is of the references, and path_b of the probes. Other pairs are ignored.
    """
    reference_rows = {name: row for row, name in enumerate(references.names)}
    probe_rows = {name: row for row, name in enumerate(probes.names)}
    pairs = [
        (reference_rows[a], probe_rows[b], int(same))
        for a, b, same in parse_csv(path)[0]
        if a in reference_rows and b in probe_rows
    ]
    rows = np.array(pairs, np.intp).reshape(-1, 3)
    return rows[:, :2], rows[:, 2]
