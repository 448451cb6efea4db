"""edge-fiqa build: a checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edge_fiqa.bundle.cause_limits import why_no_reasons
from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.calibration.fit import LEAST_FACES
from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.cli.info import describe
from edge_fiqa.cli.options import check_none_given
from edge_fiqa.cli.printing import say
from edge_fiqa.config import BuildRecipe, load_recipe
from edge_fiqa.engines import BACKENDS
from edge_fiqa.errors import BackendMissing, ConfigError

USUAL_LIMIT = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help=".safetensors, .pt or .pth")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--backend", choices=BACKENDS, help="default engine (ov)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16", "int8"), help="default: fp32"
    )
    parser.add_argument("--heads", type=int, help="attention heads, where the file does not tell")
    parser.add_argument(
        "--segments", metavar="N|ENDS", help="how many, 'every 3' blocks, or last blocks: 3,6,9,12"
    )
    parser.add_argument("--ranges", choices=("minmax", "percentile", "entropy"), help="INT8 ranges")
    parser.add_argument("--calibration-images", type=Path, metavar="DIR", help="aligned faces")
    parser.add_argument(
        "--calibration-limit", type=int, metavar="N", help=f"of them ({USUAL_LIMIT})"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE.json",
        help="of another form of this model: take it instead of fitting one",
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE.yaml", help="the same choices as a file"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of the measured engine"
    )
    parser.add_argument(
        "--accept-imprecise", action="store_true", default=None, help="build whatever is lost"
    )
    parser.add_argument("--name", help="algorithm name in records (default: the bundle's folder)")
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")


def run(options: argparse.Namespace) -> int:
    try:
        from edge_fiqa.build.builder import build_bundle
        from edge_fiqa.model.weights import load_weights
    except ImportError as exc:
        raise BackendMissing(
            f"building needs {exc.name}; run pip install 'edge-fiqa[build]'"
        ) from exc
    chosen: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("backend", "precision", "segments", "ranges", "threads", "accept_imprecise")
        if getattr(options, key) is not None
    }
    recipe = load_recipe(options.recipe, chosen, BuildRecipe)
    if recipe.precision != "int8":
        check_none_given(options, ("ranges",), "is about --precision int8, which is not given")
    if options.calibration_images is None:
        reason = "is about --calibration-images, which are not given"
        check_none_given(options, ("calibration_limit",), reason)
    faces = None
    if options.calibration_images is not None:
        limit = USUAL_LIMIT if options.calibration_limit is None else options.calibration_limit
        faces = read_faces(options.calibration_images, limit, "build")
    calibration = None
    if options.calibration is not None:
        fingerprint = load_weights(options.checkpoint, options.heads).fingerprint
        calibration = load_calibration(options.calibration, fingerprint)
    try:
        bundle = build_bundle(
            options.checkpoint,
            options.output,
            recipe,
            heads=options.heads,
            faces=faces,
            calibration=calibration,
            force=options.force,
            name=options.name,
        )
    except OSError as exc:
        raise ConfigError(f"{options.output} cannot be written: {exc.strerror or exc}") from exc
    describe(bundle, sys.stdout)
    if (missing := why_no_reasons(bundle.manifest, bundle.calibration)) is not None:
        say(f"edge-fiqa build: warning: {missing}", error=True)
    if recipe.precision != "fp32" and bundle.calibration is None:
        say(
            f"edge-fiqa build: warning: what {recipe.precision} loses was not checked on faces; give "
            f"--calibration-images with {LEAST_FACES} of them or more",
            error=True,
        )
    return 0
