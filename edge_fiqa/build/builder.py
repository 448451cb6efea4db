"""Checkpoint -> bundle: segments are written, parity and costs measured, and all renamed into place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edge_fiqa import __version__
from edge_fiqa.build.precision import check_precision, compare, with_graph_difference
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.cause_limits import check_limits, with_limits
from edge_fiqa.bundle.manifest import (
    FLOAT_WEIGHTS,
    GOLDEN_FACES,
    PLAN_OPTIONS,
    WEIGHTS,
    Costs,
    ExitParity,
    Manifest,
    NetworkInfo,
    Parity,
    SegmentFile,
    save_manifest,
)
from edge_fiqa.bundle.replace import check_replaceable, folder_beside, put_in_place
from edge_fiqa.calibration.artefact import FILE as CALIBRATION
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import LEAST_FACES, fit_calibration
from edge_fiqa.calibration.gate_table import table_of_own
from edge_fiqa.calibration.monitor import with_reference
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.ort import OnnxRuntime
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.route import parse_boundaries, segments_for
from edge_fiqa.files import sha256
from edge_fiqa.measurement.all_exits import all_exits, all_exits_and_causes, synthetic_faces
from edge_fiqa.measurement.segment_costs import measured_costs
from edge_fiqa.model.activation_ranges import float_session
from edge_fiqa.model.cause_heads import metadata_of
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.quantise import quantised_segments
from edge_fiqa.model.weight_store import WeightStore
from edge_fiqa.model.weights import Weights, load_weights
from edge_fiqa.types import Array, Bytes, FaceSet, Segment

LARGE_BYTES = 32 << 20  # of weights: with more, not all segments are in memory at once
GRAPH_FACES = 256  # faces scored by an INT8 graph as it is written, which is slow
GRAPH_BATCH = 8  # of them at a time: such a graph makes floats of all its weights in every run


def build_bundle(
    checkpoint: Path,
    target: Path,
    recipe: BuildRecipe,
    *,
    heads: int | None = None,
    faces: FaceSet | None = None,
    calibration: Calibration | None = None,
    force: bool = False,
    name: str | None = None,
) -> Bundle:
    """Build `target` from `checkpoint` and open it.

    faces: aligned calibration faces, for INT8 ranges, parity and the calibration; without them parity
    is measured on synthetic images, and fewer than 100 make no calibration.
    calibration: the bundle's, instead of one fitted to its own scores. Forms of one model share it,
    so that their qualities stand on one scale.
    Nothing appears at `target` unless everything went well. Raises ConfigError if it exists and
    `force` is not given, if it is there and no bundle, and if the recipe's precision loses more than it
    allows.
    """
    _check_request(target, recipe, faces, force)
    weights = load_weights(checkpoint, heads)
    if calibration is not None and weights.causes is not None:
        check_limits(calibration, weights.causes.sha256, target)
    target = target.resolve()  # a link stays a link
    with folder_beside(target) as folder:
        _write(weights, folder, recipe, None if faces is None else faces.crops, name or target.name)
        _measure(weights, folder, recipe, faces, calibration)
        check_precision(Bundle.open(folder).manifest, recipe)
        folder.chmod(0o755)
        _check_request(target, recipe, faces, force)
        put_in_place(folder, target)
    return Bundle.open(target)


def _check_request(target: Path, recipe: BuildRecipe, faces: FaceSet | None, force: bool) -> None:
    if target.exists():
        if not force:
            raise ConfigError(f"{target} exists; give --force to replace it")
        check_replaceable(target)
    if recipe.precision == "int8" and (faces is None or not len(faces.crops)):
        raise ConfigError("INT8 needs real faces for its ranges: give --calibration-images DIR")


def _write(
    weights: Weights, folder: Path, recipe: BuildRecipe, faces: Bytes | None, name: str
) -> None:
    """All files of the bundle; in its manifest, nothing is measured yet."""
    config, heads = weights.config, weights.causes
    exits = parse_boundaries(recipe.segments or str(config.depth), config.depth)
    segments = segments_for(exits, tails=config.mode == "token")
    segment_files = _write_segments(_graphs(weights, segments, recipe, faces), folder)
    _write_backend_files(weights, folder, recipe)
    manifest = Manifest(
        name=name,
        edge_fiqa=__version__,
        fingerprint=weights.fingerprint,
        network=NetworkInfo(
            config.mode, config.width, config.depth, config.heads, config.mlp_ratio
        ),
        precision=recipe.precision,
        backend=recipe.backend,
        exits=exits,
        causes=() if heads is None else heads.names,
        cause_heads=None if heads is None else heads.sha256,
        cause_right=tuple(heads.right[k - 1] for k in exits) if heads and heads.right else (),
        segments=segment_files,
        files={path.name: sha256(path) for path in sorted(folder.iterdir())},
        parity=Parity("not measured", 0, "", ()),
        costs=Costs("not measured", "", "", 0, ()),
        golden=(),
    )
    save_manifest(manifest, folder)


def _write_segments(
    graphs: Iterable[tuple[Segment, onnx.ModelProto]], folder: Path
) -> tuple[SegmentFile, ...]:
    """One ONNX file for each segment, and the weights of all in one file."""
    files = []
    with WeightStore(folder, WEIGHTS) as store:
        for segment, model in graphs:
            file = f"{segment.name}.onnx"
            onnx.save(store.add(model), str(folder / file))
            files.append(SegmentFile(segment.first, segment.last, segment.tail, file))
    return tuple(sorted(files, key=lambda file: (file.first, file.last, file.tail)))


def _write_backend_files(weights: Weights, folder: Path, recipe: BuildRecipe) -> None:
    """What a backend needs besides the segments: float weights for torch, options for TensorRT."""
    if recipe.backend == "pt":
        from safetensors.numpy import save

        heads = str(weights.config.heads)
        arrays, stated = dict(weights.arrays), {"heads": heads}
        if weights.causes is not None:
            arrays |= weights.causes.arrays
            stated |= metadata_of(weights.causes.names, weights.causes.right)
        data = save(arrays, stated)
        (folder / FLOAT_WEIGHTS).write_bytes(data)  # save_file has errors of its own
    if recipe.backend in ("trt", "rtx"):
        (folder / PLAN_OPTIONS).write_bytes(msgspec.json.encode(recipe.plans))


def _graphs(
    weights: Weights, segments: Sequence[Segment], recipe: BuildRecipe, faces: Bytes | None
) -> Iterator[tuple[Segment, onnx.ModelProto]]:
    if recipe.precision == "int8":
        assert faces is not None  # build_bundle has checked
        spread = np.linspace(0, len(faces) - 1, min(recipe.range_faces, len(faces))).astype(int)
        yield from quantised_segments(
            weights, segments, faces[spread], recipe.ranges, recipe.float_layers
        )
    else:
        for segment in segments:
            yield (
                segment,
                segment_graph(weights, segment, recipe.precision, half_weights=recipe.half_weights),
            )


def _measure(
    weights: Weights,
    folder: Path,
    recipe: BuildRecipe,
    faces: FaceSet | None,
    calibration: Calibration | None,
) -> None:
    """Measure scores and costs of the bundle in `folder`, calibrate it, and complete its manifest."""
    crops = synthetic_faces(16) if faces is None else faces.crops
    images = "synthetic images" if faces is None else faces.described
    reference = _reference(weights, crops)
    manifest = Bundle.open(folder).manifest
    trails, causes, golden, costs = _scores_and_costs(folder, crops, recipe.threads)
    files = dict(manifest.files)
    if calibration is None and faces is not None and len(crops) >= LEAST_FACES:
        calibration = _calibrate(trails, causes, faces, manifest)
    if calibration is not None:
        calibration.save(folder / CALIBRATION)
        files[CALIBRATION] = sha256(folder / CALIBRATION)
    exits = compare(trails, reference, calibration)
    if recipe.precision == "int8":
        exits, golden = _against_own_graph(folder, crops, trails, exits)
    parity = Parity("onnxruntime fp32", len(crops), images, exits)
    golden_rows = tuple(tuple(float(score) for score in row) for row in golden)
    changes = {"files": files, "parity": parity, "costs": costs, "golden": golden_rows}
    save_manifest(msgspec.structs.replace(manifest, **changes), folder)


def _scores_and_costs(
    folder: Path, crops: Bytes, threads: int | None
) -> tuple[Array, Array | None, Array, Costs]:
    """The scores (N, E) of `crops` at all exits, their logits of causes (N, K, D), the scores of the
    golden faces, and the cost table."""
    large = (folder / WEIGHTS).stat().st_size > LARGE_BYTES
    with open_engine(Bundle.open(folder), threads=threads) as engine:
        engine.prepare(faces=[1])  # every segment is about to be measured
        trails, causes = all_exits_and_causes(engine, crops)
        golden = all_exits(engine, synthetic_faces(GOLDEN_FACES))
        return trails, causes, golden, measured_costs(engine, release=large)


def _against_own_graph(
    folder: Path, crops: Bytes, trails: Array, exits: tuple[ExitParity, ...]
) -> tuple[tuple[ExitParity, ...], Array]:
    """The rows with what the engine's INT8 differs from the graph's by; the graph's golden scores."""
    rows = np.linspace(0, len(crops) - 1, min(GRAPH_FACES, len(crops))).astype(int)
    with OnnxRuntime(Bundle.open(folder), optimised=False) as engine:
        literal = all_exits(engine, crops[rows], batch=GRAPH_BATCH)
        golden = all_exits(engine, synthetic_faces(GOLDEN_FACES))
    return with_graph_difference(exits, trails[rows] - literal), golden


def _calibrate(
    trails: Array, causes: Array | None, faces: FaceSet, manifest: Manifest
) -> Calibration:
    calibration = fit_calibration(
        trails,
        faces.groups,
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        exits=manifest.exits,
        images=faces.described,
    )
    quality = Estimator.of(calibration, "FW").full_qualities(trails, "FW")
    table = table_of_own(quality, faces.groups, faces.described, "FW")
    calibration = msgspec.structs.replace(calibration, gate_table=table)
    if causes is not None:
        calibration = with_limits(calibration, causes, trails, faces.groups, manifest)
    return with_reference(calibration, trails, faces.crops)


def _reference(weights: Weights, faces: Bytes) -> Array:
    """Float32 scores from ONNX Runtime, whose graph the tests compare with torch."""
    depth = weights.config.depth
    whole = Segment(1, depth, tail=weights.config.mode == "token")
    session = float_session(segment_graph(weights, whole))
    return np.concatenate([session.run(["scores"], {"image": face[None]})[0] for face in faces])
