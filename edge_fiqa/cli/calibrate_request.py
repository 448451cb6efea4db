"""What `edge-fiqa calibrate` was asked for: its flags, parsed once and checked against each other."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_fiqa.bundle.manifest import MANIFEST
from edge_fiqa.calibration.artefact import Calibration, is_calibration
from edge_fiqa.calibration.scale import Scale, ScaleForm, Sigmoid
from edge_fiqa.cli.gate_faces import KnownPairs, parse_use
from edge_fiqa.cli.options import check_none_given
from edge_fiqa.config import CalibrationRecipe, load_recipe
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import RULES, Fusion, parse_fusion
from edge_fiqa.policies.gate import check_gate
from edge_fiqa.types import Precision

USUAL = CalibrationRecipe()
USUAL_FMR = 1e-3
BESIDE_KEEP = {"gate", "reject_rate", "limit"}


@dataclass(frozen=True)
class CalibrateRequest:
    """The command line.

    faces: a folder; None where only `uses` are scored. uses: kinds of use and their folders.
    outputs: files to write, or bundles. backend None: the bundle's. keep: the calibration whose scale
    and promises stay. scores: a Parquet set in which the faces' scores are.
    """

    faces: Path | None
    uses: tuple[tuple[str, Path], ...]
    outputs: tuple[Path, ...]
    keep: Path | None
    bundle: str
    backend: str | None
    threads: int | None
    precision: Precision | None
    recipe: CalibrationRecipe
    fnmr: float | None
    known: KnownPairs | None
    scores: str | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> CalibrateRequest:
        """Raises ConfigError where choices contradict each other."""
        if options.scores is not None:
            check_none_given(options, ("backend", "threads"), "computes nothing beside --scores")
        stated = {name: getattr(options, name) for name in msgspec.structs.asdict(USUAL)}
        stated = {name: value for name, value in stated.items() if value is not None}
        request = cls(
            options.faces,
            tuple(parse_use(text) for text in options.use),
            tuple(options.output),
            options.keep,
            options.bundle,
            options.backend,
            options.threads,
            options.precision,
            load_recipe(options.recipe, stated, CalibrationRecipe),
            options.fnmr,
            _known_pairs(options),
            options.scores,
        )
        _check_faces(request)
        _check_keep(request, stated)
        _check_gate_choice(request)
        _check_scale_and_seed(request.recipe)
        for output in request.outputs:
            _check_output(output)
        return request

    @property
    def scale(self) -> ScaleForm | Scale:
        """The form to fit, or the scale that x0 and w fix."""
        if self.recipe.x0 is None or self.recipe.w is None:
            return self.recipe.scale
        return Sigmoid(self.recipe.x0, self.recipe.w)

    def fusions(self, depth: int, kept: Calibration | None) -> tuple[Fusion, ...]:
        """The rules to calibrate, or those of the kept calibration, for a model of `depth` blocks."""
        if kept is not None:
            return tuple(parse_fusion(name, depth) for name in kept.rules)
        if self.recipe.fusion is None:
            return RULES
        return (parse_fusion(self.recipe.fusion, depth),)


def _known_pairs(options: argparse.Namespace) -> KnownPairs | None:
    parts = (options.pairs, options.recogniser)
    if all(part is None for part in parts) and options.fnmr is None:
        check_none_given(
            options, ("fmr",), "is about --pairs and --recogniser, which are not given"
        )
        return None
    if any(part is None for part in parts):
        needs = "--fnmr, " if options.fnmr is not None else ""
        raise ConfigError(f"{needs}--pairs and --recogniser go together")
    fmr = USUAL_FMR if options.fmr is None else options.fmr
    return KnownPairs(options.pairs, options.recogniser, fmr)


def _check_faces(request: CalibrateRequest) -> None:
    """Raises ConfigError where faces are missing, or would be scored for nothing."""
    if request.faces is None and not (request.keep and request.uses):
        raise ConfigError(
            "give FACES, a folder of aligned crops (only --keep with --use needs none)"
        )
    if request.faces is not None and request.keep and request.uses:
        raise ConfigError(
            f"FACES, {request.faces}, does nothing beside --keep and --use: leave it out, or name it "
            "with --use"
        )
    names = [name for name, _ in request.uses]
    if len(set(names)) < len(names):
        raise ConfigError(f"--use: {', '.join(names)}: give each kind of use its own name")


def _check_keep(request: CalibrateRequest, stated: Mapping[str, object]) -> None:
    """Raises ConfigError where flags, or the recipe, would fit what --keep takes as it is."""
    if request.keep is None:
        return
    recipe, usual = msgspec.structs.asdict(request.recipe), msgspec.structs.asdict(USUAL)
    of_fit = {name for name in recipe if name in stated or recipe[name] != usual[name]}
    if of_fit := of_fit - BESIDE_KEEP:
        name = min(of_fit)
        where = f"--{name}" if name in stated else f"{name} in --recipe"
        raise ConfigError(f"--keep takes scale and promises as they are, and no {where}")


def _check_gate_choice(request: CalibrateRequest) -> None:
    recipe = request.recipe
    if sum(value is not None for value in (recipe.gate, recipe.reject_rate, request.fnmr)) > 1:
        raise ConfigError("--gate, --reject-rate and --fnmr say the same thing: give one")
    if recipe.gate is not None:
        check_gate(recipe.gate)


def _check_scale_and_seed(recipe: CalibrationRecipe) -> None:
    if (recipe.x0 is None) != (recipe.w is None) or (
        recipe.x0 is not None and recipe.scale != "sigmoid"
    ):
        raise ConfigError("--x0 and --w go together, with --scale sigmoid")
    if recipe.seed < 0:
        raise ConfigError(f"--seed must not be negative, got {recipe.seed}")


def _check_output(path: Path) -> None:
    if (path / MANIFEST).is_file():
        return
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} cannot be written: give a file in a folder that exists")
    if path.is_file() and path.stat().st_size and not is_calibration(path):
        raise ConfigError(
            f"{path} is not a calibration: it is not replaced; choose another --output or remove it"
        )
