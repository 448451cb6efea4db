"""Who gets a cause of low quality: good clean faces, and those that a gate policy rejects?

    python benchmarks/reasons_given.py DATA --bundle nano=DIR [--bundle nano-fp32=DIR] -o RESULT.json

One face of each person of the test split, of quality GOOD or more, as a bundle's own calibration judges
it; none of these persons was trained or calibrated on. The calibration promises how many faces of at
least its own least score get any cause, wherever they stop; these are counted as well. Intervals are
Wilson's, of 95 %.

Rejected are faces of the same persons, each clean and degraded. The policy runs them to the first
exit that reports causes; beside it one that stops at once, and one that runs them to full depth.
"""

import json
from dataclasses import replace

import numpy as np
from common import add_data, add_named, new_result, parser, read_faces, read_split, write_result
from scipy.stats import binomtest

from edge_fiqa import Gate, Scorer
from edge_fiqa.bundle.cause_limits import least_quality
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.exits.cost import saved
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits_and_causes
from edge_fiqa.reasons.limits import CauseLimits
from edge_fiqa.training.degradations.table import random_mixture
from edge_fiqa.types import Array, Bytes, Mask, Rows

GOOD = 50
GATES = (10, 25, 50, 75)


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    add_named(arguments, "--bundle")
    options = arguments.parse_args()
    first = {row["identity"]: row["path"] for row in read_split(options.data, "test", grey=False)}
    faces = read_faces(options.data, sorted(first.values()))
    result = new_result(__doc__) | {"persons": len(faces), "good": GOOD}
    for name, folder in options.bundle:
        with Scorer.open(folder) as scorer:
            result[name] = given(scorer, faces) | {"rejected": rejected(scorer, faces)}
        print(name, json.dumps(result[name], indent=1), flush=True)
    write_result(result, options.output)


def given(scorer: Scorer, faces: Bytes) -> dict:
    """Counts of good faces, and of those with a cause: at each exit, at any, and under each gate."""
    calibration = scorer.bundle.calibration
    assert calibration is not None  # shipped
    assert calibration.causes is not None  # of a model with cause heads
    limits, depth = calibration.causes, scorer.bundle.config.depth
    trail, logits = all_exits_and_causes(scorer.engine, faces)
    score = fuse(trail, depth)
    quality = Estimator.of(calibration, "FW").scale.quality
    blamed = told(limits, logits)
    stopped = {}
    for gate in GATES:
        depth_of = Gate.of(calibration, gate, exits=limits.exits).replay(trail).depth
        stopped[f"gate {gate}"] = at_stop(blamed, limits, depth_of)
    said = {f"exit {e}": blamed[:, k] for k, e in enumerate(limits.exits)}
    said |= {"any exit": blamed.any(1)} | stopped
    assert limits.least_score is not None  # from faces
    promised = least_quality(calibration, limits.least_score)
    result: dict = {"promised": limits.false_alarm, "reporting": limits.reporting}
    for least, named in ((GOOD, ""), (promised, ", as promised")):
        good = quality(score) >= least
        result[f"quality {least} or more{named}"] = {
            "faces": int(good.sum()),
            "with a cause": {where: share(found[good]) for where, found in said.items()},
        }
    return result


def rejected(scorer: Scorer, clean: Bytes) -> list[dict]:
    """Of each gate: what is saved, how many faces are rejected, and how many of those have a cause."""
    calibration = scorer.bundle.calibration
    assert calibration is not None  # shipped
    assert calibration.causes is not None  # of a model with cause heads
    limits = calibration.causes
    worse = [random_mixture(face, seed=7_000_000 + row).pixels for row, face in enumerate(clean)]
    trail, logits = all_exits_and_causes(scorer.engine, np.concatenate([clean, worse]))
    blamed, rows = told(limits, logits), []
    for gate in GATES:
        policy = Gate.of(calibration, gate, exits=limits.exits)
        ways = {
            "told why": policy,
            "at once": replace(policy, reasons_at=()),
            "full depth": replace(policy, ranked=0),
        }
        for way, each in ways.items():
            replay = each.replay(trail)
            causes = at_stop(blamed, limits, replay.depth)
            rows.append(
                {
                    "gate": gate,
                    "rejected faces": way,
                    "rejected": share(~replay.accepted),
                    "of those with a cause": share(causes[~replay.accepted]),
                    "flips": share(replay.flipped),
                    "gflops saved": round(saved(scorer.bundle.costs, replay.depth)[0], 4),
                }
            )
    return rows


def told(limits: CauseLimits, logits: Array) -> Mask:
    """(N, K): is any cause reported of a face at an exit?"""
    return np.stack(
        [limits.reported(logits[:, k], e).any(1) for k, e in enumerate(limits.exits)], axis=1
    )


def at_stop(blamed: Mask, limits: CauseLimits, depth: Rows) -> Mask:
    """Of told() what holds where each face stopped, (N,)."""
    return blamed[np.arange(len(blamed)), np.searchsorted(limits.exits, depth)]


def share(blamed: np.ndarray) -> list[float] | None:
    """Of (n,) faces, with the ends of its interval; None of no face."""
    if not len(blamed):
        return None
    found = binomtest(int(blamed.sum()), len(blamed))
    ends = found.proportion_ci(method="wilson")
    return [round(float(value), 4) for value in (found.statistic, ends.low, ends.high)]


if __name__ == "__main__":
    main()
