"""edge-fiqa explain: attention maps of the network at each exit."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.cli.printing import say
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.report.figures import attention_figure, to_png
from edge_fiqa.evaluation.report.mean_attention import float_weights
from edge_fiqa.files import ONLY_OWNER, write_whole
from edge_fiqa.model.attention import attention_maps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("faces", type=Path, metavar="FACES", help="folder of aligned crops")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="out.png")
    parser.add_argument(
        "--model",
        default="nano",
        metavar="MODEL",
        help="a checkpoint, a bundle with float weights, or nano, small (default: nano)",
    )
    parser.add_argument("--heads", type=int, help="attention heads, where the file does not tell")
    parser.add_argument("--samples", type=int, default=4, help="faces shown one by one (4)")
    parser.add_argument("--limit", type=int, default=200, help="faces in the mean (200)")
    parser.add_argument("--npz", type=Path, metavar="out.npz", help="the maps (N, E, 12, 12) too")


def run(options: argparse.Namespace) -> int:
    weights = float_weights(options.model, options.heads)
    faces = read_faces(options.faces, options.limit, "explain")
    maps = np.concatenate(
        [
            attention_maps(weights, face[None])
            for face in tqdm(faces.crops, unit="face", leave=False)
        ]
    )
    shown = np.linspace(0, len(maps) - 1, min(max(options.samples, 0), len(maps))).astype(int)
    rows = [(Path(faces.names[i]).name, faces.crops[i], maps[i]) for i in shown]
    mean = np.rint(faces.crops.mean(axis=0)).astype(np.uint8)
    try:
        to_png(
            attention_figure([*rows, (f"mean of {len(maps)}", mean, maps.mean(axis=0))]),
            options.output,
            ONLY_OWNER,
        )
        if options.npz is not None:
            data = io.BytesIO()
            np.savez_compressed(data, maps=maps, names=np.array(faces.names))
            write_whole(options.npz, data.getvalue())
    except OSError as exc:
        name = exc.filename or f"{options.output} or {options.npz}"
        raise ConfigError(f"{name}: {exc.strerror}") from exc
    has_token = weights.config.mode != "crfiqa"
    kind = "attention of the quality token" if has_token else "mean attention of all patches"
    say(f"{kind}, {counted(len(maps), 'face')}, {counted(maps.shape[1], 'exit')}: {options.output}")
    return 0
