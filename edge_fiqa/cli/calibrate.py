"""edge-fiqa calibrate: a folder of one's own faces becomes a calibration file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration, is_calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fit_calibration, fitted_on
from edge_fiqa.calibration.monitor import with_reference
from edge_fiqa.calibration.recommend import gate_for_fnmr, gate_for_reject_rate
from edge_fiqa.calibration.scale import Qualities, Scale, ScaleForm, Sigmoid
from edge_fiqa.cli.calibration_report import problems_of, report
from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.cli.options import add_engine_arguments
from edge_fiqa.cli.pairs import read_pairs
from edge_fiqa.cli.printing import say
from edge_fiqa.config import CalibrationRecipe, load_recipe
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.evaluation.recognition import read_recogniser
from edge_fiqa.exits.fusion import RULES, Fusion, parse_fusion
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.policies.gate import check_gate
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.types import Array, FaceSet

USUAL = CalibrationRecipe()


@dataclass(frozen=True)
class FnmrTarget:
    """The gate at which mated pairs that pass fail at most at the rate `fnmr`.

    pairs: a CSV of pairs. recogniser: an .onnx or .yaml file. fmr: of the recogniser.
    """

    fnmr: float
    pairs: Path
    recogniser: Path
    fmr: float


@dataclass(frozen=True)
class CalibrateRequest:
    """The command line. faces: a folder. output: the file to write. backend None: the bundle's."""

    faces: Path
    output: Path
    bundle: str
    backend: str | None
    threads: int | None
    recipe: CalibrationRecipe
    fnmr_target: FnmrTarget | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> CalibrateRequest:
        """Raises ConfigError where choices contradict each other."""
        stated = {name: getattr(options, name) for name in msgspec.structs.asdict(USUAL)}
        stated = {name: value for name, value in stated.items() if value is not None}
        request = cls(
            options.faces,
            options.output,
            options.bundle,
            options.backend,
            options.threads,
            load_recipe(options.recipe, stated, CalibrationRecipe),
            _fnmr_target(options),
        )
        _check_gate_choice(request.recipe, request.fnmr_target)
        _check_scale_and_seed(request.recipe)
        _check_output(request.output)
        return request

    @property
    def scale(self) -> ScaleForm | Scale:
        """The form to fit, or the scale that x0 and w fix."""
        if self.recipe.x0 is None or self.recipe.w is None:
            return self.recipe.scale
        return Sigmoid(self.recipe.x0, self.recipe.w)

    def fusions(self, depth: int) -> tuple[Fusion, ...]:
        """The rules to calibrate, for a model of `depth` blocks."""
        if self.recipe.fusion is None:
            return RULES
        return (parse_fusion(self.recipe.fusion, depth),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("faces", type=Path, metavar="FACES", help="folder of aligned 112x112 crops")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="calibration.json")
    add_engine_arguments(parser)
    parser.add_argument("--recipe", type=Path, metavar="FILE.yaml", help="the choices below")
    parser.add_argument("--limit", type=int, metavar="N", help="faces taken, spread evenly (all)")
    parser.add_argument("--seed", type=int, help="of the split of the faces (0)")
    promise = parser.add_argument_group("promises: decisions that differ from full depth")
    promise.add_argument(
        "--risk",
        type=float,
        nargs="+",
        metavar="R",
        help=f"allowed rates; the first is the default of scoring ({' '.join(map(str, USUAL.risk))})",
    )
    promise.add_argument("--confidence", type=float, help=f"that they hold ({USUAL.confidence})")
    promise.add_argument("--fusion", metavar="RULE|W,W,...", help="calibrate this one only")
    scale = parser.add_argument_group("the 0-100 scale")
    scale.add_argument("--scale", choices=("sigmoid", "quantile"), help="default: sigmoid")
    scale.add_argument("--x0", type=float, help="sigmoid: raw score of quality 50")
    scale.add_argument("--w", type=float, help="sigmoid: raw step from quality 50 to 73")
    gate = parser.add_argument_group("the gate, stored as the default of scoring (one of these)")
    gate.add_argument("--gate", type=int, metavar="Q", help="accept quality >= Q")
    gate.add_argument("--reject-rate", type=float, metavar="R", help="lose at most this share")
    gate.add_argument("--fnmr", type=float, help="of pairs that pass; needs the two below")
    gate.add_argument("--pairs", type=Path, metavar="CSV", help="path_a,path_b,same below FACES")
    gate.add_argument(
        "--recogniser", type=Path, metavar="FILE", help=".onnx, or .yaml: path, mean, std, columns"
    )
    gate.add_argument("--fmr", type=float, default=1e-3, help="of the recogniser (0.001)")


def run(options: argparse.Namespace) -> int:
    request = CalibrateRequest.of(options)
    recipe = request.recipe
    bundle = Bundle.open(request.bundle)
    faces = read_faces(request.faces, recipe.limit, "calibrate")
    fusions = request.fusions(bundle.config.depth)
    fusion: Fusion = "FW" if "FW" in fusions else fusions[0]
    trail = _all_scores(bundle, request, faces)
    calibration = _calibrate(request, bundle, trail, faces, fusions)
    gate = _gate(request, _qualities(calibration, fusion, trail), faces)
    calibration = msgspec.structs.replace(calibration, gate=gate)
    calibration = with_reference(calibration, trail, faces.crops)
    calibration.save(request.output)
    held_out = trail[~fitted_on(trail, faces.groups, recipe.seed)]
    say("\n".join(report(calibration, bundle, fusion, held_out)))
    say(f"\nwritten to {request.output}; use it with edge-fiqa score --calibration")
    problems = problems_of(calibration, fusion, trail, faces)
    for problem in problems:
        say(f"edge-fiqa calibrate: {problem.text}", error=True)
    return 1 if any(problem.fatal for problem in problems) else 0


def _fnmr_target(options: argparse.Namespace) -> FnmrTarget | None:
    parts = (options.fnmr, options.pairs, options.recogniser)
    if all(part is None for part in parts):
        return None
    if any(part is None for part in parts):
        raise ConfigError("--fnmr, --pairs and --recogniser go together")
    return FnmrTarget(options.fnmr, options.pairs, options.recogniser, options.fmr)


def _check_gate_choice(recipe: CalibrationRecipe, target: FnmrTarget | None) -> None:
    if sum(value is not None for value in (recipe.gate, recipe.reject_rate, target)) > 1:
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
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} cannot be written: give a file in a folder that exists")
    if path.is_file() and path.stat().st_size and not is_calibration(path):
        raise ConfigError(
            f"{path} is not a calibration: it is not replaced; choose another --output or remove it"
        )


def _all_scores(bundle: Bundle, request: CalibrateRequest, faces: FaceSet) -> Array:
    """(N, E) raw scores of every exit."""
    backend = request.backend or available_backend(bundle)
    with open_engine(bundle, backend, request.threads) as engine:
        return all_exits(engine, faces.crops)


def _calibrate(
    request: CalibrateRequest,
    bundle: Bundle,
    trail: Array,
    faces: FaceSet,
    fusions: tuple[Fusion, ...],
) -> Calibration:
    manifest = bundle.manifest
    return fit_calibration(
        trail,
        faces.groups,
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        exits=manifest.exits,
        images=faces.described,
        fusions=fusions,
        scale=request.scale,
        risks=request.recipe.risk,
        confidence=request.recipe.confidence,
        seed=request.recipe.seed,
    )


def _qualities(calibration: Calibration, fusion: Fusion, trail: Array) -> Qualities:
    """Complete trails (N, E) -> (N,) quality at full depth, -1 where a score is not finite."""
    estimator, last = Estimator.of(calibration, fusion), trail.shape[1]
    finite = np.isfinite(trail).all(axis=1)
    score, _ = estimator.estimates_and_spreads(trail, (last,), fusion)
    return np.where(finite, estimator.scale.quality(np.where(finite, score[:, 0], 0)), -1)


def _gate(request: CalibrateRequest, quality: Qualities, faces: FaceSet) -> int | None:
    """The gate to store. quality: (N,) of the faces."""
    if request.recipe.reject_rate is not None:
        return gate_for_reject_rate(quality, request.recipe.reject_rate)
    if request.fnmr_target is not None:
        return _gate_for_target(request.fnmr_target, quality, faces)
    return request.recipe.gate


def _gate_for_target(target: FnmrTarget, quality: Qualities, faces: FaceSet) -> int:
    recogniser, pairs = read_recogniser(target.recogniser), read_pairs(target.pairs, faces)
    embedding = recogniser.embed(faces.crops)
    similarity = (embedding[pairs[:, 0]] * embedding[pairs[:, 1]]).sum(axis=1)
    same = pairs[:, 2] == 1
    threshold = threshold_at_fmr(similarity[~same], target.fmr)
    pair_quality = quality[pairs[:, :2]].min(axis=1)
    return gate_for_fnmr(pair_quality[same], similarity[same] < threshold, target.fnmr)
