"""What a test runs in a spawned process, which imports it by name."""

from pathlib import Path

from edge_fiqa import Scorer

_scorer = []


def open_scorer(folder: str, backend: str) -> None:
    _scorer.append(Scorer.open(Path(folder), backend=backend, threads=1))


def raw_of(face):
    return _scorer[-1].score_face(face).quality.raw
