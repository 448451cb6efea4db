"""edge-fiqa doctor --device: is this board ready for TensorRT, and does it score rightly, how fast?

Three parts, in the order in which things go wrong: what is installed and permitted; the bundle's own
golden scores; float32 and float16 plans of a seeded network of the same shape, compared with ONNX
Runtime on this machine's CPU. All of it goes into one JSON file, for a report of a fault.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import GOLDEN_FACES, Costs
from edge_fiqa.config import BuildRecipe
from edge_fiqa.doctor.checks import checks
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.machine import Machine
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.route import exits, route_to
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.measurement.segment_costs import measured_costs
from edge_fiqa.types import Precision, Segment, VitConfig

TOLERANCE: dict[str, float] = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}
"""Largest honest difference to the machine that built the bundle: other kernels round otherwise."""


def examine(
    bundle: Bundle, board: Machine, say: Callable[[str], None], root: Path
) -> dict[str, Any]:
    """Run every part that can run. `ready` in the result: nothing is missing and every score right."""
    found = checks(board, root)
    for check in found:
        mark = {True: "ok", False: "MISSING", None: "note"}[check.ok]
        say(f"  {check.name:<12} {mark:<8} {check.found}")
        if check.remedy:
            say(f"  {'':<12} {'':<8} -> {check.remedy}")
    result: dict[str, Any] = {
        "board": board.described(),
        "checks": [asdict(check) for check in found],
        "engines": [],
    }
    if all(check.ok is not False for check in found):
        say("\nbuilding plans on this device; the first time takes minutes")
        result["engines"].append(_bundle_as_it_is(bundle, say))
        for precision in ("fp32", "fp16"):
            result["engines"].append(_seeded(bundle.config, precision, bundle.manifest.exits, say))
    result["ready"] = bool(result["engines"]) and all(e["right"] for e in result["engines"])
    return result


def _bundle_as_it_is(bundle: Bundle, say: Callable[[str], None]) -> dict[str, Any]:
    precision = bundle.manifest.precision
    what = f"{bundle.manifest.name} {precision}, against the bundle's golden scores"
    try:
        with open_engine(bundle, "trt") as engine:
            engine.prepare(faces=[1])
            scores = all_exits(engine, synthetic_faces(GOLDEN_FACES))
            costs = measured_costs(engine)
    except EdgeFiqaError as exc:
        return _failed(what, precision, exc, say)
    differences = np.abs(scores - np.array(bundle.manifest.golden)).max(axis=0)
    return _judged(what, precision, [float(d) for d in differences], bundle, costs, say)


def _seeded(
    config: VitConfig, precision: Precision, ends: tuple[int, ...], say: Callable[[str], None]
) -> dict[str, Any]:
    what = f"a seeded network of the same shape, {precision}, against ONNX Runtime on the CPU"
    try:
        from edge_fiqa.build.builder import build_bundle
    except ImportError as exc:
        missing = EdgeFiqaError(f"{exc.name} is not installed; run pip install 'edge-fiqa[build]'")
        return _failed(what, precision, missing, say)
    recipe = BuildRecipe(
        backend="trt",
        precision=precision,
        segments=",".join(map(str, ends)),
        accept_imprecise=True,
    )
    with tempfile.TemporaryDirectory(prefix="edge_fiqa.") as folder:
        try:
            built = build_bundle(
                seeded_checkpoint(config, Path(folder) / "seeded.safetensors"),
                Path(folder) / f"seeded-{precision}",
                recipe,
                heads=config.heads,
            )
        except EdgeFiqaError as exc:
            return _failed(what, precision, exc, say)
        rows = built.manifest.parity.exits
        return _judged(
            what,
            precision,
            [row.max_abs_difference for row in rows],
            built,
            built.manifest.costs,
            say,
        )


def seeded_checkpoint(config: VitConfig, path: Path) -> Path:
    """A network whose scores vary from face to face: weights scaled by fan-in, norms near 1."""
    from safetensors.numpy import save_file

    from edge_fiqa.model.weights import expected_shapes

    rng = np.random.default_rng(0)
    arrays = {}
    for key, shape in expected_shapes(config).items():
        if key.endswith("running_var"):
            array = 0.5 + rng.random(shape)
        elif len(shape) == 1:
            array = key.endswith("weight") + 0.1 * rng.standard_normal(shape)
        else:
            array = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        arrays[key] = array.astype(np.float32)
    save_file(arrays, str(path), {"heads": str(config.heads)})
    return path


def _judged(
    what: str,
    precision: str,
    differences: list[float],
    bundle: Bundle,
    costs: Costs,
    say: Callable[[str], None],
) -> dict[str, Any]:
    limit = TOLERANCE[precision]
    right = max(differences) <= limit  # False for NaN as well
    verdict = "right" if right else "WRONG"
    say(f"\n{what}: {verdict}, within {max(differences):.1e} (limit {limit:.0e})")
    say(f"  {'exit':>4} {'ms':>8} {'mJ':>8} {'difference':>11}")
    rows = []
    table = CostTable.of(
        bundle.config,
        bundle.segments,
        {Segment(s.first, s.last, s.tail): s.ms for s in costs.segments},
    )
    mj = {Segment(s.first, s.last, s.tail): s.mj for s in costs.segments}
    for depth in exits(bundle.segments):
        steps = route_to(bundle.segments, depth, in_steps=True)
        energies = [mj.get(segment) for segment in steps]
        spent = None if None in energies else float(sum(e for e in energies if e is not None))
        row = {
            "exit": depth,
            "ms": table.ms_of(steps),
            "mj": spent,
            "difference": differences[depth - 1],
        }
        rows.append(row)
        energy = "-" if spent is None else f"{spent:.2f}"
        say(f"  {depth:>4} {row['ms']:>8.3f} {energy:>8} {row['difference']:>11.1e}")
    return {
        "what": what,
        "precision": precision,
        "right": right,
        "limit": limit,
        "device": costs.device,
        "tensorrt": costs.backend_version,
        "exits": rows,
    }


def _failed(
    what: str, precision: str, error: Exception, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"\n{what}: FAILED: {error}")
    return {"what": what, "precision": precision, "right": False, "error": str(error)}
