"""One person with a large part of all faces: is the gate's promise kept, and what does that cost?

    python benchmarks/lopsided_persons.py DATA -o RESULT.json

As the simulation of `gate_policy.py` with all faces of every person. `cap`: faces that one person
counts for at most, in the calibration and in the rate it is judged by; inf: all are equal.
"""

import argparse
import json
from pathlib import Path
from unittest.mock import patch

import gate_policy
import numpy as np

from edge_fiqa import Scorer
from edge_fiqa.bundle import Bundle
from edge_fiqa.calibration import risk
from edge_fiqa.measure import all_exits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default="nano")
    parser.add_argument("--times", type=int, default=100, help="simulated calibrations (100)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    seen, seen_by = gate_policy.mixture(options.data, "calibration")
    unseen, unseen_by = gate_policy.mixture(options.data, "test")
    with Scorer.open(bundle, threads=1) as scorer:
        trail = np.concatenate([all_exits(scorer.engine, faces) for faces in (seen, unseen)])
    persons = [*seen_by, *unseen_by]
    sizes = np.unique(persons, return_counts=True)[1]
    result = {"bundle": options.bundle, "faces": len(trail), "largest person": int(sizes.max())}
    cap = risk.MOST_FACES
    for kind, fitted, judged in (
        ("cap inf", np.inf, np.inf),
        (f"cap {cap:g}", cap, cap),
        (f"cap {cap:g}, judged by inf", cap, np.inf),
    ):
        with (
            patch.object(risk, "MOST_FACES", fitted),
            patch.object(gate_policy, "MOST_FACES", judged),
        ):
            result[kind] = gate_policy.simulate(bundle, trail, persons, options.times)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
