"""What a training run keeps to go on from: written whole, read with its digest, never unpickled."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edge_fiqa.errors import CheckpointError, ConfigError, KeptFileRefused
from edge_fiqa.files import unpacking_bomb
from edge_fiqa.kept import has_seal, unsealed, write_kept

SCHEMA = "edge-fiqa-training/1"


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Raises ConfigError where it cannot be written; the old one stays then."""
    data = io.BytesIO()
    torch.save(state, data)
    with written(path):
        write_kept(path, data.getvalue(), SCHEMA)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Its tensors, on a device. Raises CheckpointError."""
    try:
        if (reason := unpacking_bomb(path)) is not None:
            raise CheckpointError(f"{path}: {reason}: it is not read")
        data: Path | io.BytesIO = path  # one of an older version has no digest
        if has_seal(path):
            data = io.BytesIO(unsealed(path, path.read_bytes(), SCHEMA))
        state: dict[str, Any] = torch.load(data, map_location=device, weights_only=True)
    except KeptFileRefused as exc:
        raise CheckpointError(
            f"{exc}; delete it to train from the beginning, or put a copy in its place"
        ) from exc
    except CheckpointError:
        raise
    except Exception as exc:  # torch's reader raises anything on a damaged file
        raise CheckpointError(f"{path}: not a readable training checkpoint: {exc}") from exc
    return state


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raises ConfigError where a file of the run cannot be written, as on a full disk."""
    try:
        yield
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be written: {exc.strerror}; the same command goes on from the last "
            "checkpoint"
        ) from exc
