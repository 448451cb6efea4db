"""What a run begins with: another run's averaged weights, or a model.

It is read once, at step 0. The run's checkpoints remember its SHA-256, so that a run that goes on does
not need the file, and says so if another one lies in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from edge_fiqa.errors import CheckpointError
from edge_fiqa.files import sha256
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.checkpoint import read_checkpoint
from edge_fiqa.training.student import StateDict, Student, widen

NO_START = ""  # instead of a SHA-256
NOISE = 0.02  # of widened weights, see widen


def begin_with(student: Student, start: Path, causes: Sequence[str], seed: int) -> str:
    """Loads the weights, widened where the student is twice as wide; returns the file's SHA-256.

    causes: what the student's heads read; those of a model are taken if they read the same.
    """
    state = (
        _model(start, causes)
        if start.suffix == ".safetensors"
        else read_checkpoint(start, torch.device("cpu"))["average"]
    )
    generator = torch.Generator().manual_seed(seed)
    student.load_state_dict(widen(state, student.state_dict(), NOISE, generator))
    return sha256(start)


def still_the_start(folder: Path, known: str | None, start: Path | None) -> str | None:
    """The SHA-256 of what a run in progress began with, for its next checkpoint.

    known: as its last checkpoint says; None where an earlier version wrote that, which did not say.
    start: what its recipe names now, whether it is still there or not. Raises CheckpointError if
    another file is there.
    """
    try:
        digest = None if start is None else sha256(start)
    except OSError:
        return known  # it is not needed any more
    if known is None or digest is None:
        return digest if known is None else known
    if digest != known:
        raise CheckpointError(
            f"{start} is not what the run in {folder} began with; put that file back, take `start:` "
            "out of the recipe to go on without it, or name another output folder"
        )
    return known


def _model(path: Path, causes: Sequence[str]) -> StateDict:
    """The ViT and its heads: what predicts the teachers begins anew."""
    weights = load_weights(path)
    arrays = {f"vit.{name}": value for name, value in weights.arrays.items()}
    if weights.causes is not None and weights.causes.names == tuple(causes):
        arrays |= weights.causes.arrays
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
