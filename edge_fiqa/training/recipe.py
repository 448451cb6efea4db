"""What `edge-fiqa train` is told: faces, teachers, the model's shape, and how to train it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_fiqa.config import read_yaml
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Feeding
from edge_fiqa.types import PATCHES, Mode, VitConfig

MOST_SHIFT = 8  # pixels; more is a crop of its own, which is a cause of low quality
LabelName = Literal["certainty_ratio", "centre_cosine", "pair_similarity"]


class Teacher(Feeding, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen recogniser to learn from.

    map: name of an inner tensor (N, C, h, w) that the patch tokens learn beside the embedding.
    distil: false for one that only labels faces: embedding and map are the critic's alone.
    """

    map: str | None = None
    distil: bool = True


class QualityTeacher(Feeding, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen network that gives one quality a face. share: of the label that is its score."""

    share: float


class FaceSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder with one folder a person, a CSV (path, dataset, identity), or a CSV (shard, member,
    dataset, identity) that lies beside its tar shards. An empty identity is a face without a label.

    same_names: data sets whose identities carry the names of another one (celeba5: celeba10k).
    persons: a CSV (shard, member, train_identity) that says who is a person of another source,
    as dataset/identity. variants: degraded versions of every face, where not those of the recipe.
    own_defects: data sets whose faces have defects of their own (masks, blur); of these only the causes
    that were added are known, and what detectors see of turned heads.
    """

    list: str
    same_names: dict[str, str] = {}
    persons: str | None = None
    variants: int | None = None
    own_defects: tuple[str, ...] = ()


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the network. Width must divide by heads."""

    mode: Mode = "token"
    width: int = 128
    depth: int = 12
    heads: int = 4

    def config(self) -> VitConfig:
        return VitConfig(mode=self.mode, width=self.width, depth=self.depth, heads=self.heads)


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long, how fast, on what. Equal schedules on equal faces give equal weights on one machine.

    supervision: weight of each exit's loss: by depth (l / sum, EX-FIQA's FW), all equal, or only the
    last one (for comparison).
    parts: a batch is computed in so many parts side by side, each by one thread, which wastes less
    than threads that wait for each other where other work shares the processor.
    shift: every face is moved by up to so many pixels across and down, anew each time it is drawn; its
    label and what teachers say stay.
    follow: what `agreement` lets every exit follow: the fused score, or that of the last exit, which
    then stays free to become better than the exits before it.
    decay_steps: 0 lets the rate fall as half a cosine. Otherwise it stays level and falls in so many
    last steps (warm-up, stable, decay, arXiv:2405.18392), in which all patches are kept; a finished
    run with more `steps` goes on from where the rate began to fall.
    """

    steps: int = 2400
    batch: int = 128
    parts: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps
    decay_steps: int = 0
    kept_patches: int = 72  # PatchDropout (arXiv:2208.07220): 144 keeps all
    full_patches_from: float = 0.8  # share of the steps after which all patches are kept
    clean: float = 0.4  # share of a batch that is faces as they are, not degraded
    grey: float = 0.1  # share of the faces shown without colour, as night cameras give them
    shift: int = 0  # pixels
    ema: float = 0.998
    supervision: Literal["depth", "equal", "last"] = "depth"
    ranking: float = 1.0  # weight of the pair-wise ranking loss, beside 1 for the regression
    agreement: float = 0.5  # weight of exits following the fused score, or the last exit's
    follow: Literal["fused", "last"] = "fused"
    distil: float = 1.0  # weight of the teachers' embeddings
    maps: float = 1.0  # weight of the teachers' maps
    causes: float = 0.0  # weight of the causes of low quality, which need `detector`
    held_out: float = 0.03  # share of the identities kept for validation
    validate_every: int = 200  # steps
    patience: int = 0  # validations without a better one before stopping; 0 runs to the end
    seed: int = 0

    @property
    def full_patches_step(self) -> int:
        """The first step that reads every patch."""
        return self.decay_step if self.decay_steps else round(self.full_patches_from * self.steps)

    @property
    def decay_step(self) -> int:
        """The step at which a level rate begins to fall."""
        return self.steps - self.decay_steps


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """faces: one source or several; paths are relative to the data root. exclude: lists whose persons
    must not be among them. detector: a YuNet that sees how far heads are turned, for
    `schedule.causes`. start: a checkpoint (`latest.pt`) or a model (`.safetensors`) to begin from,
    narrower ones are widened."""

    faces: str | tuple[FaceSource, ...]
    exclude: tuple[str, ...] = ()
    teachers: tuple[Teacher, ...]
    quality_teachers: tuple[QualityTeacher, ...] = ()
    label: LabelName = "certainty_ratio"
    smoothing: float = 0.0  # share of the label that the critic gives (0 to 1)
    variants: int = 6  # degraded versions of every face
    mixed: int = 3  # degradations of one version at most
    model: Shape = Shape()
    detector: str | None = None
    start: str | None = None
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        self.model.config()
        if not self.teachers:
            raise ConfigError("teachers: at least one recogniser is needed to label faces")
        if not self.faces:
            raise ConfigError("faces: at least one source is needed")
        if sum(teacher.share for teacher in self.quality_teachers) > 1 or any(
            teacher.share < 0 for teacher in self.quality_teachers
        ):
            raise ConfigError(
                "quality_teachers: shares are of one label: 0 to 1, together at most 1"
            )
        if self.schedule.causes and (self.detector is None or self.model.mode != "token"):
            raise ConfigError(
                "schedule.causes needs `detector: FILE`, a YuNet, and a model with a quality token"
            )
        if self.mixed < 1:
            raise ConfigError(f"mixed must be at least 1, got {self.mixed}")
        if not 0 <= self.schedule.decay_steps <= self.schedule.steps:
            raise ConfigError("schedule.decay_steps is a part of schedule.steps")
        for variants in (self.variants, *(source.variants or 0 for source in self.sources)):
            if variants < 0:
                raise ConfigError(f"variants must not be negative, got {variants}")
        if self.label == "pair_similarity" and self.smoothing:
            raise ConfigError("label pair_similarity is the critic's own: leave out smoothing")
        if not 0 <= self.smoothing <= 1:
            raise ConfigError(f"smoothing is a share: 0 to 1, got {self.smoothing}")
        kept = self.schedule.kept_patches
        if not 1 <= kept <= PATCHES:
            raise ConfigError(f"schedule.kept_patches is {kept}, expected 1 to {PATCHES}")
        if self.model.mode != "token" and kept != PATCHES:
            raise ConfigError(
                f"model.mode {self.model.mode} reads every patch: set schedule.kept_patches to 144"
            )
        if not 0 <= self.schedule.shift <= MOST_SHIFT:
            raise ConfigError(f"schedule.shift must be 0 to {MOST_SHIFT} pixels")
        if not 1 <= self.schedule.parts <= self.schedule.batch:
            raise ConfigError("schedule.parts must be 1 to schedule.batch")
        for name in ("steps", "batch", "validate_every"):
            if getattr(self.schedule, name) < 1:
                raise ConfigError(f"schedule.{name} must be at least 1")
        for name in ("clean", "grey", "held_out", "warmup", "full_patches_from"):
            if not 0 <= getattr(self.schedule, name) <= 1:
                raise ConfigError(f"schedule.{name} is a share: 0 to 1")

    @property
    def sources(self) -> tuple[FaceSource, ...]:
        return (FaceSource(list=self.faces),) if isinstance(self.faces, str) else self.faces


def load_config(name: str) -> TrainConfig:
    """A YAML file, or the name of the recipe that comes with the package: small.

    Raises ConfigError naming file and key.
    """
    path = Path(name)
    if not path.suffix:
        recipes = Path(str(files("edge_fiqa.training") / "recipes"))
        path = recipes / f"{name}.yaml"
        if not path.exists():
            known = ", ".join(sorted(found.stem for found in recipes.glob("*.yaml")))
            raise ConfigError(f"{name!r} is neither a YAML file nor a shipped recipe: {known}")
    stated: dict[str, Any] = read_yaml(path)
    try:
        return msgspec.convert(stated, TrainConfig)
    except (msgspec.ValidationError, ConfigError) as exc:
        raise ConfigError(f"{path}: {exc}") from exc
