"""edge-fiqa calibrate: a folder of one's own faces becomes a calibration file."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator, rule_name
from edge_fiqa.calibration.fit import fit_calibration, fitted_on
from edge_fiqa.calibration.monitor import with_reference
from edge_fiqa.calibration.recommend import gate_for_fnmr, gate_for_reject_rate
from edge_fiqa.calibration.risk import faces_needed
from edge_fiqa.calibration.scale import Scale, ScaleForm, Sigmoid
from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.cli.options import add_engine_arguments, open_bundle
from edge_fiqa.cli.pairs import read_pairs
from edge_fiqa.config import CalibrationRecipe, load_recipe
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.evaluation.recognition import read_recogniser
from edge_fiqa.exits.cost import saved
from edge_fiqa.exits.fusion import RULES, Fusion, parse_fusion
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.policies.gate import Gate, check_gate
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.types import Array, FaceSet

USUAL = CalibrationRecipe()
LEAST_SPREAD = 1e-3  # of raw scores; those of two pictures differ by more
SHOWN_GATES = (10, 25, 50, 75, 90)


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
    stated = {name: getattr(options, name) for name in msgspec.structs.asdict(USUAL)}
    stated = {name: value for name, value in stated.items() if value is not None}
    recipe = load_recipe(options.recipe, stated, CalibrationRecipe)
    _check(recipe, options)
    bundle = open_bundle(options)
    faces = read_faces(options.faces, recipe.limit, "calibrate")
    trail = _score(bundle, options, faces)
    fusions: tuple[Fusion, ...] = RULES
    if recipe.fusion is not None:
        fusions = (parse_fusion(recipe.fusion, bundle.config.depth),)
    scale: ScaleForm | Scale = recipe.scale
    if recipe.x0 is not None and recipe.w is not None:
        scale = Sigmoid(recipe.x0, recipe.w)
    calibration = fit_calibration(
        trail,
        faces.groups,
        model=bundle.manifest.name,
        fingerprint=bundle.manifest.fingerprint,
        exits=bundle.manifest.exits,
        images=faces.described,
        fusions=fusions,
        scale=scale,
        risks=recipe.risk,
        confidence=recipe.confidence,
        seed=recipe.seed,
    )
    fusion: Fusion = "FW" if "FW" in fusions else fusions[0]
    gate = _gate(recipe, options, calibration, fusion, trail, faces)
    calibration = msgspec.structs.replace(calibration, gate=gate)
    calibration = with_reference(calibration, trail, faces.crops)
    calibration.save(options.output)
    held_out = trail[~fitted_on(trail, faces.groups, recipe.seed)]
    print("\n".join(report(calibration, bundle, fusion, held_out)))
    print(f"\nwritten to {options.output}; use it with edge-fiqa score --calibration")
    problems = [*_doubts(trail, faces), *_unpromised(calibration, fusion)]
    for problem in problems:
        print(f"edge-fiqa calibrate: {problem.text}", file=sys.stderr)
    return 1 if any(problem.fatal for problem in problems) else 0


@dataclass(frozen=True)
class Problem:
    """fatal: the file gives qualities, but no early exit is to be had with it."""

    text: str
    fatal: bool


def _doubts(trail: Array, faces: FaceSet) -> list[Problem]:
    """What is wrong with the faces: all alike, or one file under several persons' names."""
    full = trail[np.isfinite(trail).all(axis=1), -1]
    if np.ptp(full) < LEAST_SPREAD:
        return [
            Problem(
                f"the scores of all {len(full)} faces are the same: are they copies of one, or blank?"
                " Nothing is worth keeping of this file",
                True,
            )
        ]
    groups: dict[bytes, set[str]] = {}
    for crop, group in zip(faces.crops, faces.groups, strict=True):
        groups.setdefault(hashlib.sha256(crop.tobytes()).digest(), set()).add(group)
    copies = sum(len(names) - 1 for names in groups.values())
    if not copies:
        return []
    return [
        Problem(
            f"warning: {copies} of {len(faces.crops)} faces are copies of one that counts as another "
            "person's (another file or sub-folder): the promise is too good; remove them",
            False,
        )
    ]


def _unpromised(calibration: Calibration, fusion: Fusion) -> list[Problem]:
    """Where not one of the risks is promised: at the stored gate, or at any gate if there is none."""
    promises = calibration.rules[rule_name(fusion)].promises
    gates = range(101) if calibration.gate is None else [calibration.gate]
    if any(promise.gates[gate] is not None for promise in promises for gate in gates):
        return []
    where = "any gate" if calibration.gate is None else f"gate {calibration.gate}"
    risks = ", ".join(f"{promise.risk:g}" for promise in promises)
    return [
        Problem(
            f"nothing is promised at {where} (risk {risks}): --policy gate will run every face to "
            "full depth; give more faces of more persons, or a larger --risk",
            True,
        )
    ]


def _check(recipe: CalibrationRecipe, options: argparse.Namespace) -> None:
    """Raises ConfigError where choices contradict each other."""
    if sum(value is not None for value in (recipe.gate, recipe.reject_rate, options.fnmr)) > 1:
        raise ConfigError("--gate, --reject-rate and --fnmr say the same thing: give one")
    if len({options.fnmr is None, options.pairs is None, options.recogniser is None}) > 1:
        raise ConfigError("--fnmr, --pairs and --recogniser go together")
    if (recipe.x0 is None) != (recipe.w is None) or (
        recipe.x0 is not None and recipe.scale != "sigmoid"
    ):
        raise ConfigError("--x0 and --w go together, with --scale sigmoid")
    if recipe.gate is not None:
        check_gate(recipe.gate)
    if recipe.seed < 0:
        raise ConfigError(f"--seed must not be negative, got {recipe.seed}")
    if options.output.is_dir() or not options.output.absolute().parent.is_dir():
        raise ConfigError(
            f"{options.output} cannot be written: give a file in a folder that exists"
        )


def _score(bundle: Bundle, options: argparse.Namespace, faces: FaceSet) -> Array:
    backend = options.backend or available_backend(bundle)
    with open_engine(bundle, backend, options.threads) as engine:
        return all_exits(engine, faces.crops)


def report(calibration: Calibration, bundle: Bundle, fusion: Fusion, trail: Array) -> list[str]:
    """What stopping early does, on held-out faces (N, E): one line per gate."""
    rule = calibration.rules[rule_name(fusion)]
    promise = rule.promises[0]
    lines = [
        f"{calibration.model}: calibration {calibration.id} from {calibration.faces} "
        f"{calibration.images}, {promise.faces} of them held out",
        f"fusion {rule_name(fusion)}; decisions that differ from full depth: at most "
        f"{100 * promise.risk:g} %, with {100 * promise.confidence:g} % confidence",
        "",
        "  gate  rejected  mean depth  gflops saved  ms saved  flips",
    ]
    needed = faces_needed(promise.risk, promise.confidence)
    if promise.faces < needed:
        lines.insert(2, f"NOT PROMISED: that needs {needed} held-out faces; give more")
    elif all(margin is None for margin in promise.gates):
        lines.insert(2, "NOT PROMISED: these faces are of too few persons (folders); give more")
    shown = sorted({*SHOWN_GATES, *([] if calibration.gate is None else [calibration.gate])})
    for quality in shown:
        gate = Gate.of(calibration, quality, exits=calibration.exits, fusion=fusion)
        replay = gate.replay(trail)
        gflops, ms = saved(bundle.costs, replay.depth)
        mark = "  <- stored" if quality == calibration.gate else ""
        lines.append(
            f"{quality:>6}{100 * (1 - replay.accepted.mean()):>8.1f} %{replay.depth.mean():>12.2f}"
            f"{100 * gflops:>12.1f} %{'NA' if ms is None else f'{100 * ms:.1f} %':>10}"
            f"{100 * replay.flipped.mean():>6.2f} %{mark}"
        )
    return lines


def _gate(
    recipe: CalibrationRecipe,
    options: argparse.Namespace,
    calibration: Calibration,
    fusion: Fusion,
    trail: Array,
    faces: FaceSet,
) -> int | None:
    estimator, last = Estimator.of(calibration, fusion), trail.shape[1]
    ok = np.isfinite(trail).all(axis=1)
    score, _ = estimator.look(trail, (last,), fusion)
    quality = np.where(ok, estimator.scale.quality(np.where(ok, score[:, 0], 0)), -1)
    if recipe.reject_rate is not None:
        return gate_for_reject_rate(quality, recipe.reject_rate)
    if options.fnmr is None:
        return recipe.gate
    recogniser, rows = read_recogniser(options.recogniser), read_pairs(options.pairs, faces)
    embedding = recogniser.embed(faces.crops)
    similarity = (embedding[rows[:, 0]] * embedding[rows[:, 1]]).sum(axis=1)
    same = rows[:, 2] == 1
    threshold = threshold_at_fmr(similarity[~same], options.fmr)
    lower = quality[rows[:, :2]].min(axis=1)
    return gate_for_fnmr(lower[same], similarity[same] < threshold, options.fnmr)
