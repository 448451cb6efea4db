"""The mean attention over a data set, and the float weights that it is computed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_fiqa.bundle.bundle import SHIPPED
from edge_fiqa.bundle.manifest import FLOAT_WEIGHTS
from edge_fiqa.errors import ConfigError, ImageRefused
from edge_fiqa.evaluation.datasets.face_files import Faces
from edge_fiqa.model.attention import attention_maps
from edge_fiqa.model.weights import Weights, load_weights
from edge_fiqa.types import Array

MEAN_OF = 100  # faces, spread evenly over a data set


def mean_maps(weights: Weights, faces: Faces, name: str) -> Array:
    """(E, 12, 12) over at most MEAN_OF readable faces."""
    rows = np.unique(np.linspace(0, len(faces) - 1, MEAN_OF).astype(int))
    maps = []
    for row in tqdm(rows.tolist(), desc=f"attention, {name}", unit="face", leave=False):
        try:
            maps.append(attention_maps(weights, faces.crop(row)[0][None])[0])
        except ImageRefused:
            continue
    if not maps:
        raise ConfigError(f"{name}: no readable face to show attention on")
    return np.asarray(np.mean(maps, axis=0))


def float_weights(model: str, heads: int | None = None) -> Weights:
    """The float weights behind a name, a bundle or a checkpoint. Raises EdgeFiqaError."""
    path = Path(model)
    if not path.exists() and model in SHIPPED:
        path = SHIPPED[model].parent / f"{model}.safetensors"
        if not path.is_file():
            raise ConfigError(
                f"the float weights of {model} are in the source repository, not in the installed "
                "package; give --model CHECKPOINT"
            )
    if path.is_dir():
        if not (path / FLOAT_WEIGHTS).is_file():
            raise ConfigError(
                f"{path} has no {FLOAT_WEIGHTS}; give the checkpoint it was built from"
            )
        path = path / FLOAT_WEIGHTS
    return load_weights(path, heads)
