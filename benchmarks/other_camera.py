"""Calibrated on one kind of faces, run on another: how often decisions flip, and when audits tell.

    python benchmarks/other_camera.py DATA -o RESULT.json

Kinds: celeba10k and lfw, clean and degraded. Persons of the test split were never calibrated on. Audits
take one random face of a random person each, up to 5,000, in 20 streams.
"""

import argparse
import json
from pathlib import Path

import gate_policy
import numpy as np

from edge_fiqa import Gate, Scorer
from edge_fiqa.audit import Audit
from edge_fiqa.bundle import Bundle
from edge_fiqa.measure import all_exits

RISK, GATES, STREAMS, MOST = 0.01, (25, 50, 75), 20, 5000
MOVES = (
    ("celeba10k", "lfw"),
    ("lfw", "celeba10k"),
    ("clean", "degraded"),
    ("degraded", "clean"),
    ("all", "all"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default="nano")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    seen, seen_by = gate_policy.mixture(options.data, "calibration")
    unseen, unseen_by = gate_policy.mixture(options.data, "test")
    with Scorer.open(bundle, threads=1) as scorer:
        known, new = (all_exits(scorer.engine, faces) for faces in (seen, unseen))
    rows = moves(bundle, known, np.array(seen_by), new, np.array(unseen_by))
    result = {"bundle": options.bundle, "risk": RISK, "moves": rows}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def moves(
    bundle: Bundle, known: np.ndarray, known_by: np.ndarray, new: np.ndarray, new_by: np.ndarray
) -> list[dict]:
    """One row for each move and gate."""
    rows = []
    for there, here in MOVES:
        old, now = of_kind(known_by, there), of_kind(new_by, here)
        calibration = gate_policy.fit(bundle, known[old], known_by[old].tolist(), (RISK,))
        for quality in GATES:
            gate = Gate.of(calibration, quality, exits=calibration.exits)
            flipped = gate.replay(new[now]).flipped
            ends = [audits(flipped, new_by[now], seed) for seed in range(STREAMS)]
            alarms = [end for end in ends if end is not None]
            rows.append(
                {
                    "calibrated on": there,
                    "run on": here,
                    "gate": quality,
                    "promised": gate.margin is not None,
                    "flips_pct": round(100 * float(flipped.mean()), 2),
                    f"alarms within {MOST} audits_pct": 100 * len(alarms) / STREAMS,
                    "median audits to the alarm": int(np.median(alarms)) if alarms else None,
                }
            )
            print(rows[-1], flush=True)
    return rows


def of_kind(persons: np.ndarray, kind: str) -> np.ndarray:
    """(N,) which faces: each is there twice in turn, clean and degraded."""
    if kind in ("clean", "degraded"):
        return np.arange(len(persons)) % 2 == (kind == "degraded")
    return np.array([kind == "all" or person.startswith(f"{kind} ") for person in persons])


def audits(flipped: np.ndarray, persons: np.ndarray, seed: int) -> int | None:
    """How many audits to the alarm."""
    rng, audit = np.random.default_rng(seed), Audit(RISK, 1.0)
    faces = [np.flatnonzero(persons == person) for person in np.unique(persons)]
    for number in rng.integers(len(faces), size=MOST):
        audit.see(np.zeros(1, np.float32), bool(flipped[rng.choice(faces[number])]))
        if audit.suspended:
            return audit.faces
    return None


if __name__ == "__main__":
    main()
