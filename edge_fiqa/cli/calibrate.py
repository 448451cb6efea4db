"""edge-fiqa calibrate: a folder of one's own faces becomes a calibration file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.cause_limits import check_limits, why_no_reasons, with_limits
from edge_fiqa.bundle.gate_answers import check_same_calibration, put_gate_table
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.calibration.estimate import rule_name
from edge_fiqa.calibration.fit import fit_calibration, fitted_on
from edge_fiqa.calibration.gate_table import OWN_FACES, KindOfUse
from edge_fiqa.calibration.monitor import with_reference
from edge_fiqa.calibration.recommend import gate_for_fnmr, gate_for_reject_rate
from edge_fiqa.cli.calibrate_request import USUAL, USUAL_FMR, CalibrateRequest
from edge_fiqa.cli.calibration_report import problems_of, report
from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.cli.gate_faces import ScoredUse, gate_table
from edge_fiqa.cli.gate_report import fnmr_line, share_line, table_lines
from edge_fiqa.cli.options import add_engine_arguments
from edge_fiqa.cli.printing import say
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.forms import open_form
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.measurement.all_exits import all_exits_and_causes
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.types import Array, FaceSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "faces", type=Path, nargs="?", metavar="FACES", help="folder of aligned 112x112 crops"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        nargs="+",
        required=True,
        metavar="calibration.json",
        help="with --keep also bundles, which get the table of their gates",
    )
    add_engine_arguments(parser)
    parser.add_argument(
        "--scores",
        metavar="SET",
        help="Parquet of edge-fiqa score --on ray --all-exits with these faces: none is scored here",
    )
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
    table = parser.add_argument_group("what each gate means, which edge-fiqa gate shows")
    table.add_argument(
        "--use",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="faces of one kind of use, as door=crops/door; several times (default: FACES)",
    )
    table.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="of an earlier calibration, scale, promises and gate: only their meaning is measured",
    )
    table.add_argument(
        "--pairs",
        type=Path,
        metavar="CSV",
        help="path_a,path_b,same: path_a below the first --use or FACES, path_b below each",
    )
    table.add_argument(
        "--recogniser", type=Path, metavar="FILE", help=".onnx, or .yaml: path, mean, std, columns"
    )
    table.add_argument("--fmr", type=float, help=f"of the recogniser ({USUAL_FMR:g})")
    gate = parser.add_argument_group("the gate, stored as the default of scoring (one of these)")
    gate.add_argument("--gate", type=int, metavar="Q", help="accept quality >= Q")
    gate.add_argument(
        "--reject-rate", type=float, metavar="R", help="lose at most this share (of the last --use)"
    )
    gate.add_argument(
        "--fnmr",
        type=float,
        help="of pairs that pass (of the last --use); needs --pairs and --recogniser",
    )


def run(options: argparse.Namespace) -> int:
    request = CalibrateRequest.of(options)
    bundle = open_form(
        request.bundle,
        threads=request.threads,
        precision=request.precision,
        backend=request.backend,
    )
    kept = None
    if request.keep is not None:
        kept = load_calibration(request.keep, bundle.manifest.fingerprint)
        check_limits(kept, bundle.manifest.cause_heads, bundle.folder)
    fusions = request.fusions(bundle.config.depth, kept)
    fusion: Fusion = "FW" if "FW" in fusions else fusions[0]
    scored, uses = _scored_faces(bundle, request)
    calibration = kept or _fitted(request, bundle, scored, fusions)
    if kept is not None and fusion != "FW":
        text = f"{request.keep} has no fusion FW: the table of gates is of {rule_name(fusion)}"
        say(f"edge-fiqa calibrate: warning: {text}, for --fusion {rule_name(fusion)}", error=True)
    table = gate_table(calibration, fusion, uses, request.known)
    judged = table.uses[-1]  # of several, the first is what was enrolled
    gate = _gate(request, calibration.gate, judged)
    calibration = msgspec.structs.replace(calibration, gate=gate, gate_table=table)
    _write(calibration, request.outputs)
    if request.keep is None:
        held_out = scored.trail[~fitted_on(scored.trail, scored.faces.groups, request.recipe.seed)]
        say("\n".join(report(calibration, bundle, fusion, held_out)), "")
    say("\n".join(table_lines(calibration.model, table)))
    if gate is not None and request.fnmr is not None:
        say("\n" + fnmr_line(judged, gate, request.fnmr))
    elif gate is not None and request.recipe.reject_rate is not None:
        say("\n" + share_line(judged, gate))
    say(f"\nwritten to {', '.join(map(str, request.outputs))}; use it with --calibration")
    if (missing := why_no_reasons(bundle.manifest, calibration)) is not None:
        say(f"edge-fiqa calibrate: warning: {missing}", error=True)
    if request.keep is not None:
        return 0
    problems = problems_of(calibration, fusion, scored.trail, scored.faces)
    for problem in problems:
        say(f"edge-fiqa calibrate: {problem.text}", error=True)
    return 1 if any(problem.fatal for problem in problems) else 0


def _scored_faces(
    bundle: Bundle, request: CalibrateRequest
) -> tuple[ScoredUse, tuple[ScoredUse, ...]]:
    """FACES, and the kinds of use; where one of both is not given, it is the other."""
    folders = list(request.uses)
    if request.faces is not None:
        folders.insert(0, (OWN_FACES, request.faces))
    limit = request.recipe.limit
    sets = [(name, read_faces(folder, limit, "calibrate")) for name, folder in folders]
    read = _read(bundle, request, [faces for _, faces in sets])
    scored = [ScoredUse(name, faces, *of) for (name, faces), of in zip(sets, read, strict=True)]
    return scored[0], tuple(scored[-len(request.uses) :])


def _read(
    bundle: Bundle, request: CalibrateRequest, sets: Sequence[FaceSet]
) -> list[tuple[Array, Array | None]]:
    """The complete trails (N, E) of each set, and logits of causes (N, K, D) where there are some.

    Stored records hold the trails alone.
    """
    if request.scores is not None:
        from edge_fiqa.tables.score_set import ScoreSet  # needs pyarrow
        from edge_fiqa.tables.stored_scores import stored_trails

        stored = ScoreSet(request.scores)
        fingerprint = bundle.manifest.fingerprint
        return [(stored_trails(stored, faces.names, fingerprint), None) for faces in sets]
    backend = request.backend or available_backend(bundle)
    with open_engine(bundle, backend, request.threads) as engine:
        return [all_exits_and_causes(engine, faces.crops) for faces in sets]


def _fitted(
    request: CalibrateRequest, bundle: Bundle, scored: ScoredUse, fusions: tuple[Fusion, ...]
) -> Calibration:
    manifest, recipe = bundle.manifest, request.recipe
    calibration = fit_calibration(
        scored.trail,
        scored.faces.groups,
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        exits=manifest.exits,
        images=scored.faces.described,
        fusions=fusions,
        scale=request.scale,
        risks=recipe.risk,
        confidence=recipe.confidence,
        seed=recipe.seed,
    )
    if scored.causes is not None:
        calibration = with_limits(
            calibration, scored.causes, scored.trail, scored.faces.groups, manifest
        )
    return with_reference(calibration, scored.trail, scored.faces.crops)


def _gate(request: CalibrateRequest, kept: int | None, use: KindOfUse) -> int | None:
    """The gate to store. kept: of the calibration that is kept. use: FACES, or the last --use."""
    if request.recipe.reject_rate is not None:
        return gate_for_reject_rate(use, request.recipe.reject_rate)
    if request.fnmr is not None:
        return gate_for_fnmr(use, request.fnmr)
    return kept if request.recipe.gate is None else request.recipe.gate


def _write(calibration: Calibration, outputs: Sequence[Path]) -> None:
    """Bundles are checked before anything is written."""
    bundles = {path: Bundle.open(path) for path in outputs if path.is_dir()}
    for bundle in bundles.values():
        check_same_calibration(bundle, calibration)
    for path in outputs:
        if path in bundles:
            put_gate_table(bundles[path], calibration)
        else:
            calibration.save(path)
