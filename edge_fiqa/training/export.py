"""The model that a run gives: its averaged ViT in float16, as a safetensors file.

Heads that read causes of low quality are kept beside it, see cause_heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from edge_fiqa.files import write_whole
from edge_fiqa.model.cause_heads import PREFIX, metadata_of
from edge_fiqa.training.checkpoint import written
from edge_fiqa.training.student import StateDict
from edge_fiqa.types import VitConfig

MODEL = "model.safetensors"


def write_model(
    folder: Path,
    average: StateDict,
    config: VitConfig,
    causes: Sequence[str] = (),
    right: Sequence[float | None] = (),
) -> Path:
    """average: of the student. causes: what its heads read, if it has any; right: how often each exit
    is, if known. Raises ConfigError where the file cannot be written."""
    weights = {
        key.removeprefix("vit."): value.half().contiguous().cpu()
        for key, value in average.items()
        if key.startswith(("vit.", PREFIX)) and value.is_floating_point()
    }
    stated = {"heads": str(config.heads), **(metadata_of(causes, right) if causes else {})}
    target = folder / MODEL
    with written(target):
        write_whole(target, save(weights, metadata=stated))
    return target
