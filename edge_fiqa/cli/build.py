"""edge-fiqa build: a checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.cli.info import describe
from edge_fiqa.config import load_recipe
from edge_fiqa.engines import BACKENDS
from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.sources import FaceCrop, FaceReader, expand
from edge_fiqa.types import Bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help=".safetensors, .pt or .pth")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--backend", choices=[*BACKENDS, "trt"], help="default engine (ov)")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16", "int8"), help="default: fp32"
    )
    parser.add_argument("--heads", type=int, help="attention heads, where the file does not tell")
    parser.add_argument("--segments", metavar="N|ENDS", help="how many, or last blocks: 3,6,9,12")
    parser.add_argument("--ranges", choices=("minmax", "percentile", "entropy"), help="INT8 ranges")
    parser.add_argument("--calibration-images", type=Path, metavar="DIR", help="aligned faces")
    parser.add_argument(
        "--calibration-limit", type=int, default=512, metavar="N", help="of them (512)"
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE.yaml", help="the same choices as a file"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of the measured engine"
    )
    parser.add_argument("--name", help="algorithm name in records (default: the bundle's folder)")
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")


def run(options: argparse.Namespace) -> int:
    try:
        from edge_fiqa.build import build_bundle
    except ImportError as exc:
        raise BackendMissing(
            f"building needs {exc.name}; run pip install 'edge-fiqa[build]'"
        ) from exc
    if options.backend == "trt":
        raise BackendMissing("TensorRT plans are not built by this version; choose ov, ort or pt")
    chosen: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("backend", "precision", "segments", "ranges", "threads")
        if getattr(options, key) is not None
    }
    recipe = load_recipe(options.recipe, chosen)
    faces = _faces(options.calibration_images, options.calibration_limit)
    logging.disable(logging.WARNING)  # the quantiser's advice about preprocessing
    bundle = build_bundle(
        options.checkpoint,
        options.output,
        recipe,
        heads=options.heads,
        faces=faces,
        faces_are=f"faces of {options.calibration_images.name}" if faces is not None else "",
        force=options.force,
        name=options.name,
    )
    describe(bundle, sys.stdout)
    return 0


def _faces(folder: Path | None, limit: int) -> Bytes | None:
    """At most `limit` aligned faces, spread evenly over the folder; unreadable ones are left out."""
    if folder is None:
        return None
    paths = list(expand([str(folder)], sys.stdin))
    reader, faces, refused = FaceReader(), [], 0
    for path in paths[:: max(1, len(paths) // max(limit, 1))][:limit]:
        for face in reader.faces_of(path):
            if isinstance(face, FaceCrop):
                faces.append(face.crop)
            else:
                refused += 1
    if not faces:
        raise ConfigError(f"{folder}: no aligned 112x112 faces in it ({refused} files refused)")
    if refused:
        print(f"edge-fiqa build: {refused} unusable calibration images left out", file=sys.stderr)
    return np.stack(faces)
