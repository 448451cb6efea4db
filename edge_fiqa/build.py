"""Checkpoint -> bundle: segments, parity and cost measured here and now, renamed into place whole."""

from __future__ import annotations

import importlib.metadata
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edge_fiqa import __version__
from edge_fiqa.bundle import (
    FLOAT_WEIGHTS,
    MANIFEST,
    WEIGHTS,
    Bundle,
    Costs,
    ExitParity,
    Manifest,
    Network,
    Parity,
    SegmentCost,
    SegmentFile,
    sha256,
)
from edge_fiqa.calibration.scale import measure_moments
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.quantise import RangeMethod, quantised_segments
from edge_fiqa.model.store import WeightStore
from edge_fiqa.model.weights import Weights, load_weights
from edge_fiqa.route import route_to, segments_for
from edge_fiqa.types import IMAGE, Array, Bytes, Precision, Segment

LIBRARIES = {"ov": "openvino", "ort": "onnxruntime", "pt": "torch"}


@dataclass(frozen=True, kw_only=True)
class BuildRecipe:
    """What to build. `boundaries` are the last blocks of the segments."""

    backend: str = "ov"
    precision: Precision = "fp32"
    boundaries: tuple[int, ...] | None = None  # None: every block
    ranges: RangeMethod = "minmax"
    range_faces: int = 128  # how many calibration faces set INT8 ranges
    threads: int | None = None
    measure: bool = True  # parity and cost; without them budgets in ms are refused


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
        if recipe.measure:
            images = synthetic_faces(16) if faces is None else faces
            described = "synthetic images" if faces is None else faces_are
            _measure(weights, folder, recipe, images, described, scale=faces is not None)
        folder.chmod(0o755)
        _swap(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Bundle.open(target)


def synthetic_faces(count: int, seed: int = 0) -> Bytes:
    """(count, 112, 112, 3) blocky noise: not faces, but every activation is exercised."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 14, 14, 3))
    images = np.kron(small, np.ones((1, 8, 8, 1))) + rng.normal(0, 8, (count, IMAGE, IMAGE, 3))
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def all_exits(engine: Engine, faces: Bytes) -> Array:
    """(N, E) raw score of every face at every exit, in one pass of bodies and the last tail."""
    steps = route_to(engine.segments, engine.config.depth, may_stop_before=True)
    trail = np.empty((len(faces), engine.config.depth), np.float32)
    for row in range(len(faces)):
        x = faces[row : row + 1]
        for segment in steps:
            tokens, trail[row : row + 1, segment.exits] = engine.run(segment, x)
            x = tokens
    return trail


def measure_costs(engine: Engine, repeats: int = 20) -> tuple[SegmentCost, ...]:
    """Median ms per segment for one face, each run where it stands in a real pass."""
    face, depth = synthetic_faces(1), engine.config.depth
    times: dict[Segment, list[float]] = {segment: [] for segment in engine.segments}
    steps = [s for s in engine.segments if not s.tail and (s.last < depth or s.first > 1)]
    for repeat in range(repeats + 3):
        x = face
        for body in steps or list(engine.segments):
            for segment in (s for s in engine.segments if s.first == body.first):
                start = time.perf_counter()
                tokens, _ = engine.run(segment, x)
                if repeat >= 3:
                    times[segment].append(1e3 * (time.perf_counter() - start))
                if segment == body:
                    following = tokens
            x = following
    return tuple(
        SegmentCost(s.first, s.last, s.tail, round(statistics.median(ms), 4))
        for s, ms in times.items()
    )


def _write(
    weights: Weights, folder: Path, recipe: BuildRecipe, faces: Bytes | None, name: str
) -> None:
    config = weights.config
    ends = recipe.boundaries or tuple(range(1, config.depth + 1))
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
        parity=None,
        costs=None,
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
        costs = Costs(
            engine.device,
            recipe.backend,
            importlib.metadata.version(LIBRARIES[recipe.backend]),
            engine.threads,
            measure_costs(engine),
        )
    rows = tuple(
        ExitParity(k + 1, float(np.abs(found[:, k] - reference[:, k]).max()), _spearman(found[:, k], reference[:, k]))
        for k in range(found.shape[1])
    )
    manifest = msgspec.structs.replace(
        Bundle.open(folder).manifest,
        parity=Parity("onnxruntime fp32", len(faces), faces_are, rows),
        costs=costs,
        scale=measure_moments(found) if scale else None,
    )
    _save(manifest, folder)


def _reference(weights: Weights, recipe: BuildRecipe, folder: Path, faces: Bytes) -> Array:
    """Float32 scores from ONNX Runtime, whose graph the tests compare with torch."""
    plain = BuildRecipe(backend="ort", precision="fp32", boundaries=recipe.boundaries)
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
