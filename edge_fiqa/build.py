"""Checkpoint -> bundle: segments, parity and cost measured here and now, renamed into place whole."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edge_fiqa import __version__
from edge_fiqa.bundle import (
    FLOAT_WEIGHTS,
    GOLDEN_FACES,
    MANIFEST,
    WEIGHTS,
    Bundle,
    Costs,
    ExitParity,
    Manifest,
    Network,
    Parity,
    SegmentFile,
    sha256,
)
from edge_fiqa.calibration.scale import measure_moments
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.measure import all_exits, measure_costs, synthetic_faces
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.quantise import quantised_segments
from edge_fiqa.model.store import WeightStore
from edge_fiqa.model.weights import Weights, load_weights
from edge_fiqa.route import parse_boundaries, segments_for
from edge_fiqa.types import Array, Bytes, Segment

LIBRARIES = {"ov": "openvino", "ort": "onnxruntime", "pt": "torch"}


def build_bundle(
    checkpoint: Path,
    target: Path,
    recipe: BuildRecipe,
    *,
    heads: int | None = None,
    faces: Bytes | None = None,
    faces_are: str = "calibration images",
    force: bool = False,
    name: str | None = None,
) -> Bundle:
    """Build `target` from `checkpoint` and open it.

    faces: (N, 112, 112, 3) uint8 RGB calibration images, for INT8 ranges, parity and the 0-100
    scale; without them parity is measured on synthetic images and there is no scale.
    Nothing appears at `target` unless everything went well. Raises ConfigError if it exists and
    `force` is not given.
    """
    if target.exists() and not force:
        raise ConfigError(f"{target} exists; give --force to replace it")
    if recipe.precision == "int8" and (faces is None or not len(faces)):
        raise ConfigError("INT8 needs real faces for its ranges: give --calibration-images DIR")
    weights = load_weights(checkpoint, heads)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write(weights, folder, recipe, faces, name or target.name)
        images = synthetic_faces(16) if faces is None else faces
        described = "synthetic images" if faces is None else faces_are
        _measure(weights, folder, recipe, images, described, scale=faces is not None)
        folder.chmod(0o755)
        _swap(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Bundle.open(target)


def _write(
    weights: Weights, folder: Path, recipe: BuildRecipe, faces: Bytes | None, name: str
) -> None:
    config = weights.config
    ends = parse_boundaries(recipe.segments or str(config.depth), config.depth)
    segments = segments_for(ends, tails=config.mode == "token")
    files = []
    store = WeightStore(folder, WEIGHTS)
    for segment, model in _graphs(weights, segments, recipe, faces):
        file = f"{segment.name}.onnx"
        onnx.save(store.add(model), str(folder / file))
        files.append(SegmentFile(segment.first, segment.last, segment.tail, file))
    store.close()
    if recipe.backend == "pt":
        from safetensors.numpy import save_file

        save_file(dict(weights.arrays), str(folder / FLOAT_WEIGHTS), {"heads": str(config.heads)})
    manifest = Manifest(
        name=name,
        edge_fiqa=__version__,
        fingerprint=weights.fingerprint,
        network=Network(config.mode, config.width, config.depth, config.heads, config.mlp_ratio),
        precision=recipe.precision,
        backend=recipe.backend,
        exits=ends,
        segments=tuple(sorted(files, key=lambda f: (f.first, f.last, f.tail))),
        files={path.name: sha256(path) for path in sorted(folder.iterdir())},
        parity=Parity("not measured", 0, "", ()),
        costs=Costs("not measured", "", "", 0, ()),
        golden=(),
        scale=None,
    )
    _save(manifest, folder)


def _graphs(
    weights: Weights, segments: Sequence[Segment], recipe: BuildRecipe, faces: Bytes | None
) -> Iterator[tuple[Segment, onnx.ModelProto]]:
    if recipe.precision == "int8":
        assert faces is not None  # build_bundle has checked
        spread = np.linspace(0, len(faces) - 1, min(recipe.range_faces, len(faces))).astype(int)
        yield from quantised_segments(weights, segments, faces[spread], recipe.ranges)
    else:
        for segment in segments:
            yield segment, segment_graph(weights, segment, recipe.precision)


def _measure(
    weights: Weights, folder: Path, recipe: BuildRecipe, faces: Bytes, faces_are: str, scale: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        reference = _reference(weights, recipe, Path(place), faces)
    with open_engine(Bundle.open(folder), threads=recipe.threads) as engine:
        found = all_exits(engine, faces)
        golden = all_exits(engine, synthetic_faces(GOLDEN_FACES))
        costs = Costs(
            engine.device,
            recipe.backend,
            importlib.metadata.version(LIBRARIES[recipe.backend]),
            engine.threads,
            measure_costs(engine),
        )
    rows = tuple(
        ExitParity(
            k + 1,
            float(np.abs(found[:, k] - reference[:, k]).max()),
            _spearman(found[:, k], reference[:, k]),
        )
        for k in range(found.shape[1])
    )
    manifest = msgspec.structs.replace(
        Bundle.open(folder).manifest,
        parity=Parity("onnxruntime fp32", len(faces), faces_are, rows),
        costs=costs,
        golden=tuple(tuple(float(score) for score in row) for row in golden),
        scale=measure_moments(found) if scale else None,
    )
    _save(manifest, folder)


def _reference(weights: Weights, recipe: BuildRecipe, folder: Path, faces: Bytes) -> Array:
    """Float32 scores from ONNX Runtime, whose graph the tests compare with torch."""
    plain = BuildRecipe(backend="ort", precision="fp32", segments=recipe.segments)
    _write(weights, folder, plain, None, "reference")
    with open_engine(Bundle.open(folder), "ort") as engine:
        return all_exits(engine, faces)


def _spearman(a: Array, b: Array) -> float | None:
    from scipy.stats import spearmanr

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)


def _save(manifest: Manifest, folder: Path) -> None:
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(text + b"\n")


def _swap(folder: Path, target: Path) -> None:
    """Put `folder` at `target`; an old bundle there is removed only once the new one stands."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old / "bundle")
        folder.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(target)
