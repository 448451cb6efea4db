"""The frozen networks of a run, and the names of the tables that hold what they gave.

A table is named after the network's file and how it is fed. The cache remembers these names, so that a
network whose tables are full is not needed any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.training.memory import remembered
from edge_fiqa.training.recipe import TrainConfig

Fed = tuple[Recogniser, str | None]  # with the name of the inner tensor to keep, if any


@dataclass(frozen=True)
class Teachers:
    """scores: networks that give one quality a face. labels_only: numbers of the recognisers that the
    student does not learn from. detector: a YuNet, which sees how far a head is turned."""

    recognisers: Sequence[Fed]
    scores: Sequence[Recogniser] = ()
    labels_only: frozenset[int] = frozenset()
    detector: Path | None = None

    @property
    def fed(self) -> tuple[Fed, ...]:
        return (*self.recognisers, *((teacher, None) for teacher in self.scores))


def teachers_of(config: TrainConfig, root: Path, threads: int | None) -> Teachers:
    """Of a recipe, whose paths are relative to `root`. Raises ConfigError for what is no detector."""
    detector = None if config.detector is None else root / config.detector
    if detector is not None and detector.exists():
        YuNet(detector)  # refused now, not when all faces have been read
    return Teachers(
        [(teacher.network(root, threads), teacher.map) for teacher in config.teachers],
        [teacher.network(root, threads) for teacher in config.quality_teachers],
        frozenset(n for n, teacher in enumerate(config.teachers) if not teacher.distil),
        detector,
    )


def table_names(teachers: Teachers, cache: Path) -> dict[Fed | Path, str]:
    """What the tables of each network are called: after its file, how it is fed, and what is kept.

    Raises ConfigError for a file that is absent and not remembered.
    """
    names: dict[Fed | Path, str] = {}
    for teacher, inner in teachers.fed:
        digest = _digest_of(teacher.path, repr((teacher.feeding, inner)), cache)
        names[teacher, inner] = f"{teacher.path.stem}-{digest}"
    if teachers.detector is not None:
        names[teachers.detector] = f"turns-{_digest_of(teachers.detector, '', cache)}"
    return names


def _digest_of(model: Path, fed: str, cache: Path) -> str:
    """Eight digits of the SHA-256 of a file and how it is fed, also of a file that is gone."""

    def read(file: Path) -> bytes:
        return hashlib.sha256(file.read_bytes() + fed.encode()).hexdigest()[:8].encode()

    return remembered(model, f"tables fed {fed}", read, cache).decode()
