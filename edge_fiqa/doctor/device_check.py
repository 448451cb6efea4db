"""edge-fiqa doctor --device: is this machine ready for TensorRT? Are its scores right, and how fast?

Three parts, in the order in which faults occur:
- what is installed and permitted;
- the bundle, against its own golden scores;
- float32 and float16 plans of a seeded network of the same shape, against ONNX Runtime on the CPU.

The result goes into one JSON file, which belongs to every report of a fault.
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
from edge_fiqa.doctor.own_process import PLANS_S, Died, in_own_process
from edge_fiqa.doctor.plan_layers import kernels_of_segments
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.machine import Machine
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.route import exits, route_to
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.measurement.segment_costs import measured_costs
from edge_fiqa.types import Precision, Segment, VitConfig

TOLERANCE: dict[str, float] = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}
"""Largest difference from the scores of the machine that built the bundle, due to rounding."""
Say = Callable[[str], None]


def examine(
    bundle: Bundle,
    machine: Machine,
    say: Say,
    root: Path,
    layers: bool = False,
) -> dict[str, Any]:
    """Runs every part that can run. `ready`: nothing is missing, and every score is right.

    layers: also list the kernels of the bundle's plans.
    """
    checked = checks(machine, root)
    for check in checked:
        mark = {True: "ok", False: "MISSING", None: "note"}[check.ok]
        say(f"  {check.name:<12} {mark:<8} {check.found}")
        if check.remedy:
            say(f"  {'':<12} {'':<8} -> {check.remedy}")
    result: dict[str, Any] = {
        "board": machine.described(),
        "checks": [asdict(check) for check in checked],
        "engines": [],
    }
    if all(check.ok is not False for check in checked):
        say("\nbuilding plans on this device; the first time takes minutes")
        result["engines"] = _check_engines(bundle, say, layers)
    result["ready"] = bool(result["engines"]) and all(e["right"] for e in result["engines"])
    return result


def _check_engines(bundle: Bundle, say: Say, layers: bool) -> list[dict[str, Any]]:
    precision, config, ends = bundle.manifest.precision, bundle.config, bundle.manifest.exits
    title = f"{bundle.manifest.name} {precision}, against the bundle's golden scores"
    reports = [_apart(say, _check_bundle, title, precision, bundle.folder, layers)]
    for seeded in ("fp32", "fp16"):
        title = f"a seeded network of the same shape, {seeded}, against ONNX Runtime on the CPU"
        reports.append(_apart(say, _check_seeded, title, seeded, config, ends))
    return reports


def _apart(
    say: Say, check: Callable[..., dict[str, Any]], title: str, precision: str, *arguments: Any
) -> dict[str, Any]:
    """One check in a process of its own: a library that dies, as TensorRT may, is in the report too."""
    try:
        report, lines = in_own_process(
            _gathered, check, title, precision, *arguments, timeout_s=PLANS_S
        )
    except Died as exc:
        return _failed(title, precision, exc, say)
    for line in lines:
        say(line)
    return report


def _gathered(
    check: Callable[..., dict[str, Any]], *arguments: Any
) -> tuple[dict[str, Any], list[str]]:
    """What the check reports, and the lines that it says."""
    lines: list[str] = []
    return check(*arguments, lines.append), lines


def _check_bundle(
    title: str, precision: str, folder: Path, layers: bool, say: Say
) -> dict[str, Any]:
    bundle = Bundle.open(folder)
    try:
        with open_engine(bundle, "trt") as engine:
            engine.prepare(faces=[1])
            scores = all_exits(engine, synthetic_faces(GOLDEN_FACES))
            costs = measured_costs(engine)
            listed = kernels_of_segments(engine, say) if layers else {}
    except EdgeFiqaError as exc:
        return _failed(title, precision, exc, say)
    differences = np.abs(scores - np.array(bundle.manifest.golden)).max(axis=0)
    report = _report(title, precision, [float(d) for d in differences], bundle, costs, say)
    return report | ({"layers": listed} if layers else {})


def _check_seeded(
    title: str, precision: Precision, config: VitConfig, ends: tuple[int, ...], say: Say
) -> dict[str, Any]:
    try:
        from edge_fiqa.build.builder import build_bundle
    except ImportError as exc:
        missing = EdgeFiqaError(f"{exc.name} is not installed; run pip install 'edge-fiqa[build]'")
        return _failed(title, precision, missing, say)
    segments = ",".join(map(str, ends))
    recipe = BuildRecipe(
        backend="trt", precision=precision, segments=segments, accept_imprecise=True
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
            return _failed(title, precision, exc, say)
        differences = [row.max_abs_difference for row in built.manifest.parity.exits]
        return _report(title, precision, differences, built, built.manifest.costs, say)


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


def _report(
    title: str,
    precision: str,
    differences: list[float],
    bundle: Bundle,
    costs: Costs,
    say: Say,
) -> dict[str, Any]:
    limit = TOLERANCE[precision]
    right = max(differences) <= limit  # False for NaN as well
    verdict = "right" if right else "WRONG"
    say(f"\n{title}: {verdict}, within {max(differences):.1e} (limit {limit:.0e})")
    say(f"  {'exit':>4} {'ms':>8} {'mJ':>8} {'difference':>11}")
    rows = _exit_rows(differences, bundle, costs)
    for row in rows:
        energy = "-" if row["mj"] is None else f"{row['mj']:.2f}"
        say(f"  {row['exit']:>4} {row['ms']:>8.3f} {energy:>8} {row['difference']:>11.1e}")
    return {
        "what": title,
        "precision": precision,
        "right": right,
        "limit": limit,
        "device": costs.device,
        "tensorrt": costs.backend_version,
        "exits": rows,
    }


def _exit_rows(differences: list[float], bundle: Bundle, costs: Costs) -> list[dict[str, Any]]:
    """Costs of every exit in steps, and its difference. mj: None where there is no meter."""
    of_segment = {Segment(s.first, s.last, s.tail): s for s in costs.segments}
    table = CostTable.of(
        bundle.config,
        bundle.segments,
        {segment: cost.ms for segment, cost in of_segment.items()},
        {segment: cost.mj for segment, cost in of_segment.items() if cost.mj is not None},
    )
    rows = []
    for depth in exits(bundle.segments):
        route = route_to(bundle.segments, depth, in_steps=True)
        rows.append(
            {
                "exit": depth,
                "ms": table.ms_of(route),
                "mj": table.mj_of(route),
                "difference": differences[depth - 1],
            }
        )
    return rows


def _failed(title: str, precision: str, error: Exception, say: Say) -> dict[str, Any]:
    say(f"\n{title}: FAILED: {error}")
    return {"what": title, "precision": precision, "right": False, "error": str(error)}
