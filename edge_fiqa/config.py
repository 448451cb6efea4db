"""Recipes: frozen dataclasses that YAML files fill and the command line overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Precision

RangeMethod = Literal["minmax", "percentile", "entropy"]
BackendName = Literal["ov", "ort", "pt", "trt", "rtx"]


LEAST_WORKSPACE_MB = 16  # one block of the smallest shipped model takes 9


class PlanOptions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How TensorRT plans are built and run.

    batches: static batch sizes, one plan each; the largest is the engine's largest batch.
    dynamic: instead, one plan per segment for every batch up to the largest.
    ahead: build every plan when the bundle is built or first opened on a machine, not when needed.
    workspace_mb: scratch memory that the builder may plan with; 0 leaves TensorRT's limit, the whole
    device. level: builder effort, 0 to 5. tf32: let float32 products round to 10 bits.
    version_compatible: plans that later TensorRT versions run, too; lean_library: the lean runtime's
    file, loaded once instead of being in each such plan. graphs: replay segments as CUDA graphs.
    child: build in a child process, whose memory returns to the system; auto does so when it is short.
    on_mismatch: what happens to a plan that was built for something else. exit_on: read for the sake of
    older recipes, which may say host; device was removed.
    """

    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    dynamic: bool = False
    ahead: bool = False
    workspace_mb: int = 1024
    level: int = 3
    tf32: bool = False
    version_compatible: bool = False
    lean_library: str | None = None
    graphs: bool = True
    child: Literal["auto", "always", "never"] = "auto"
    on_mismatch: Literal["rebuild", "refuse"] = "rebuild"
    exit_on: Literal["host", "device"] = "host"

    def __post_init__(self) -> None:
        if not self.batches or sorted(set(self.batches)) != list(self.batches):
            raise ValueError("batches must rise, and be at least one")
        if self.batches[0] < 1 or self.batches[-1] > 64:
            raise ValueError("batches must lie in 1 to 64")
        if not 0 <= self.level <= 5:
            raise ValueError("level must lie in 0 to 5")
        if self.workspace_mb != 0 and self.workspace_mb < LEAST_WORKSPACE_MB:
            raise ValueError(
                f"workspace_mb must be 0 or at least {LEAST_WORKSPACE_MB}: with less, attention "
                "cannot be built"
            )
        if self.exit_on == "device":
            raise ValueError(
                "exit_on: device was removed, the host decides where to stop; "
                "delete exit_on from the recipe"
            )


class BuildRecipe(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What `edge-fiqa build` makes of a checkpoint.

    segments: how many equal ones, "every 3" blocks, or their last blocks as in "3,6,9,12"; None is one
    per block.
    ranges, range_faces: how INT8 ranges are determined, and on how many calibration faces.
    float_layers: linear layers left in float32 by INT8: blocks (block1) or layers (block1/fc2, stem).
    half_weights: an fp32 bundle stores weights as float16, in half the space; it computes in float32.
    least_spearman, least_agreement: what reduced precision must keep of float32 at every exit, where
    there are calibration faces; accept_imprecise builds whatever it loses. plans: for TensorRT.
    """

    backend: BackendName = "ov"
    precision: Precision = "fp32"
    segments: str | None = None
    ranges: RangeMethod = "minmax"
    range_faces: int = 128
    float_layers: tuple[str, ...] = ()
    half_weights: bool = False
    least_spearman: float = 0.995
    least_agreement: float = 0.99
    accept_imprecise: bool = False
    threads: int | None = None
    plans: PlanOptions = PlanOptions()


class CalibrationRecipe(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What `edge-fiqa calibrate` makes of a folder of faces.

    risk: allowed rates of decisions unlike full depth, the first one the default of scoring. scale:
    of 0-100; x0 and w fix the sigmoid. gate, reject_rate: the gate, or the share that it may lose.
    fusion: calibrate this rule only. limit: faces taken, spread evenly. seed: of the split.
    """

    risk: tuple[float, ...] = (0.01, 0.005, 0.02, 0.05)
    confidence: float = 0.95
    scale: Literal["sigmoid", "quantile"] = "sigmoid"
    x0: float | None = None
    w: float | None = None
    gate: int | None = None
    reject_rate: float | None = None
    fusion: str | None = None
    limit: int | None = None
    seed: int = 0


Recipe = TypeVar("Recipe", BuildRecipe, CalibrationRecipe)


def load_recipe(path: Path | None, overrides: Mapping[str, Any], kind: type[Recipe]) -> Recipe:
    """The recipe file, if there is one; values of the command line replace those of the file.

    Raises ConfigError naming file and key.
    """
    stated: dict[str, Any] = {}
    if path is not None:
        stated = read_yaml(path)
    try:
        return msgspec.convert({**stated, **overrides}, kind)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path or 'recipe'}: {exc}") from exc


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file. ConfigError naming the file if it holds anything else."""
    try:
        content = msgspec.yaml.decode(path.read_bytes())
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: expected keys like `precision: int8`, found {type(content).__name__}"
        )
    return content
