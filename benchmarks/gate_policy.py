"""The gate policy: risk asked, risk found, compute saved; beside three other ways to stop early.

    python benchmarks/gate_policy.py DATA --bundle nano=DIR [--bundle small=DIR] -o RESULT.json

Faces are those of `calibration/faces.py`, of the calibration and the test split. The table
calibrates on the first and judges on the second, whose persons were never calibrated on. The
simulation mixes both, calibrates on 500 persons drawn anew, 1,000 times, and judges on all. Mixed
depths: qualities of faces that stopped at different depths, sorted beside those of full depth.
A picture is written beside the result.
"""

import json
import math
from pathlib import Path

import numpy as np
from common import add_data, add_named, new_result, parser, read_faces, read_split, write_result
from gate_plot import plot
from gate_simulation import GATES, RISKS, capped, fit, simulate
from pair_lists import UNSEEN, compare, pauc, read_list, recogniser

from edge_fiqa import Convergence, Fixed, Gate, Scorer
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fitted_on
from edge_fiqa.calibration.risk import stops
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.exits.cost import saved
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.training.degradations.table import random_mixture

RISK = 0.01
SORTED = 0.4  # share of mated pairs below the quality up to which faces are ranked; pAUC reads 0.3


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    add_named(arguments, "--bundle")
    arguments.add_argument("--times", type=int, default=1000, help="simulated calibrations (1000)")
    options = arguments.parse_args()
    seen, seen_by = mixture(options.data, "calibration")
    unseen, unseen_by = mixture(options.data, "test")
    persons = [*seen_by, *unseen_by]
    result = new_result(__doc__) | {"risk": RISK, "confidence": 0.95, "faces": len(unseen)}
    for name, folder in options.bundle:
        bundle = Bundle.open(folder)
        with Scorer.open(bundle, threads=1) as scorer:
            known, new = all_exits(scorer.engine, seen), all_exits(scorer.engine, unseen)
            calibration = fit(bundle, known, seen_by, (RISK,))
            result[name] = {
                "depth": bundle.config.depth,
                "table": table(bundle, calibration, known, seen_by, new),
                "simulation": simulate(
                    bundle, *capped(np.concatenate([known, new]), persons), options.times
                ),
                "simulation, persons with all their faces": simulate(
                    bundle, np.concatenate([known, new]), persons, options.times // 4
                ),  # of whom none counts for more than MOST_FACES, as is promised
                "exits": exits_of(calibration, new),
                "comparable": comparable(bundle, calibration, new),
                "mixed depths": mixed_depths(options.data, bundle, calibration, scorer),
                "ms": timed(bundle, calibration, unseen),
            }
        print(name, json.dumps(result[name]), flush=True)
    write_result(result, options.output)
    if options.output:
        for name, _ in options.bundle:
            plot(result[name], GATES, RISKS, options.output.with_suffix(f".{name}.png"))


def mixture(data: Path, split: str) -> tuple[np.ndarray, list[str]]:
    """Faces of a split, each clean and degraded, and whose they are."""
    rows = read_split(data, split, grey=False)
    faces = np.repeat(read_faces(data, [row["path"] for row in rows]), 2, axis=0)
    for number, face in enumerate(faces[::2]):
        faces[2 * number + 1] = random_mixture(face, seed=7_000_000 + number).pixels
    return faces, [f"{row['dataset']} {row['identity']}" for row in rows for _ in range(2)]


def table(
    bundle: Bundle,
    calibration: Calibration,
    known: np.ndarray,
    persons: list[str],
    new: np.ndarray,
) -> list[dict]:
    """Ways to stop, judged on new persons: depth, flips and GFLOPs saved at each gate."""
    exits, rule = calibration.exits, calibration.rules["FW"]
    estimator = Estimator(rule)
    estimates, spreads = estimator.estimates_and_spreads(new, exits, "FW")
    held = ~fitted_on(known, persons)
    held_estimates, held_spreads = estimator.estimates_and_spreads(known[held], exits, "FW")
    miss = np.abs(held_estimates[:, -1:] - held_estimates)[:, :-1] / held_spreads[:, :-1]
    level = np.ceil((held.sum() + 1) * (1 - RISK)) / held.sum()
    widths = np.append(np.quantile(miss, min(level, 1), axis=0), 0)  # of conformal intervals
    rows = []
    for gate in GATES:
        threshold = rule.scale.score_of(gate)
        promise = rule.promises[0]
        at = {
            "gate": stops(estimates, spreads, threshold, promise.gates[gate]),
            "gate, one margin for all gates": stops(
                estimates, spreads, threshold, promise.all_gates
            ),
            "conformal interval at each depth": stops(estimates, spreads * widths, threshold, 1.0),
        }
        at |= {f"patience {p}, eps {Convergence().eps}": calm(estimates, p) for p in (1, 2)}
        at |= {
            f"fixed depth {depth}": np.full(len(new), exits.index(depth))
            for depth in (1, 2, 4, 6)
            if depth < exits[-1]
        }
        accepted = estimates >= threshold
        for method, stopped in at.items():
            flipped = accepted[np.arange(len(new)), stopped] != accepted[:, -1]
            rows.append(
                {
                    "gate": gate,
                    "method": method,
                    "mean depth": round(float(np.array(exits)[stopped].mean()), 3),
                    "flips_pct": round(100 * float(flipped.mean()), 3),
                    "gflops saved_pct": round(
                        100 * saved(bundle.costs, np.array(exits)[stopped])[0], 1
                    ),
                }
            )
    return rows


def exits_of(calibration: Calibration, new: np.ndarray) -> dict[str, list[int]]:
    """How many faces stop at exit 1, 2, ...: by gate, and by convergence."""
    exits, rule = np.array(calibration.exits), calibration.rules["FW"]
    estimates, spreads = Estimator(rule).estimates_and_spreads(new, calibration.exits, "FW")
    stopped = {"convergence": calm(estimates, Convergence().patience)} | {
        f"gate {gate}": stops(
            estimates, spreads, rule.scale.score_of(gate), rule.promises[0].gates[gate]
        )
        for gate in GATES
    }
    depth = calibration.exits[-1]
    return {
        name: np.bincount(exits[at], minlength=depth + 1)[1:].tolist()
        for name, at in stopped.items()
    }


def calm(estimates: np.ndarray, patience: int) -> np.ndarray:
    """(N,) position where the convergence policy stops, replayed on estimates (N, P)."""
    still = np.abs(np.diff(estimates, axis=1)) < Convergence().eps
    runs = np.lib.stride_tricks.sliding_window_view(still, patience, axis=1).all(axis=2)
    stop = np.zeros(estimates.shape, bool)
    stop[:, patience:] = runs
    stop[:, -1] = True
    return stop.argmax(axis=1)


def comparable(bundle: Bundle, calibration: Calibration, new: np.ndarray) -> dict[str, list[float]]:
    """Of the 0-100 quality at each depth against full depth, on new persons."""
    estimator = Estimator.of(calibration, "FW")
    quality = np.stack(
        [
            estimator.qualities(fuse(new, k), np.full(len(new), k)).quality
            for k in range(1, new.shape[1] + 1)
        ]
    )
    off = quality - quality[-1]
    return {
        "mean difference": np.round(off.mean(axis=1), 2).tolist(),
        "mean absolute difference": np.round(np.abs(off).mean(axis=1), 2).tolist(),
    }


def mixed_depths(
    data: Path, bundle: Bundle, calibration: Calibration, scorer: Scorer
) -> list[dict]:
    """pAUC at FMR 1e-2 of qualities from the depths at which the gate stopped, against full depth."""
    rows = []
    estimator = Estimator.of(calibration, "FW")
    for name in ("celeba10k_gen_test", "lfw_gen_test"):
        faces, a, b, same, _ = read_list(data, name)
        trail = all_exits(scorer.engine, faces)
        qualities = {"full depth": fuse(trail, trail.shape[1])}
        exits = calibration.exits
        estimates, _ = estimator.estimates_and_spreads(trail, exits, "FW")
        depths = {"convergence": np.array(exits)[calm(estimates, Convergence().patience)]}
        full_quality = estimator.qualities(
            fuse(trail, trail.shape[1]), np.full(len(trail), exits[-1])
        ).quality
        worse = np.minimum(full_quality[a], full_quality[b])[same]
        sorted_below = math.ceil(np.quantile(worse, SORTED))
        lost = {}
        for gate in GATES:
            ways = {"": None, ", ranked": 0, f", ranked {SORTED:.0%}": sorted_below}
            for way, ranked in ways.items():
                name_of = f"gate {gate}{way}"
                replay = Gate.of(calibration, gate, exits=exits, ranked=ranked).replay(trail)
                depths[name_of] = replay.depth
                below = ~replay.accepted_at_full
                lost[name_of] = round(100 * float((below[a] | below[b])[same].mean()), 1)
        for way, depth in depths.items():
            qualities[way] = estimator.qualities(fuse(trail, depth), depth).estimate
        for network in UNSEEN:
            genuine, impostor = compare(recogniser(data, network).embed(faces), a, b, same)
            threshold = threshold_at_fmr(impostor, 1e-2)
            areas = {
                key: pauc(genuine, np.minimum(q[a], q[b])[same], threshold)
                for key, q in qualities.items()
            }
            full = areas.pop("full depth")
            rows.append(
                {
                    "list": name,
                    "recogniser": network,
                    "full depth pauc_e3": round(full, 3),
                    "change_pct": {k: round(100 * (v / full - 1), 2) for k, v in areas.items()},
                    "mean depth": {k: round(float(v.mean()), 2) for k, v in depths.items()},
                    "pairs with a face below the gate_pct": lost,
                    "ranked below": sorted_below,
                }
            )
    return rows


def timed(bundle: Bundle, calibration: Calibration, faces: np.ndarray) -> dict[str, dict]:
    """ms a face, full depth and gate in turn, one thread."""
    some = faces[np.linspace(0, len(faces) - 1, 400).astype(int)]
    ms = {}
    for quality in GATES:
        with Scorer.open(bundle, threads=1, gate=quality, calibration=calibration) as scorer:
            gate = scorer.gate_policy()
            for policies in ([Fixed()], [gate]):
                scorer.prepare(policies)
            full, early = np.array(
                [
                    [float(scorer.assess(face[None], p).ms[0]) for p in ([Fixed()], [gate])]
                    for face in some
                ]
            ).T
        ms[str(quality)] = {
            "full depth": round(float(full.mean()), 3),
            "gate": round(float(early.mean()), 3),
            "saved_pct": round(100 * (1 - float(early.sum() / full.sum())), 1),
        }
    return ms


if __name__ == "__main__":
    main()
