"""The model that a run gives: its averaged ViT in float16, as a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from edge_fiqa.files import write_whole
from edge_fiqa.training.checkpoint import written
from edge_fiqa.training.student import StateDict
from edge_fiqa.types import VitConfig

MODEL = "model.safetensors"


def write_model(folder: Path, average: StateDict, config: VitConfig) -> Path:
    """average: of the student. Raises ConfigError where it cannot be written."""
    weights = {
        key.removeprefix("vit."): value.half().contiguous().cpu()
        for key, value in average.items()
        if key.startswith("vit.") and value.is_floating_point()
    }
    target = folder / MODEL
    with written(target):
        write_whole(target, save(weights, metadata={"heads": str(config.heads)}))
    return target
