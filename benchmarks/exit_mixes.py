"""Where real faces leave: how many at each exit, by gate. Other scripts draw their batches from it.

    python benchmarks/exit_mixes.py DATA [--faces 2000] [-o benchmarks/results/NAME.json]

Faces of test identities, each clean and degraded at random, on the shipped models with their own
calibration at its first promised risk.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from gate_policy import mixture

from edge_fiqa import Scorer
from edge_fiqa.bench.environment import environment
from edge_fiqa.policy import Convergence

GATES = (10, 25, 50, 75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", nargs="+", default=["nano", "small"])
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    faces, _ = mixture(options.data, "test")
    pairs = np.linspace(0, len(faces) // 2 - 1, options.faces // 2).astype(int)
    faces = faces[np.sort(np.concatenate((2 * pairs, 2 * pairs + 1)))]
    mixes = {name: exits(name, faces) for name in options.bundle}
    for name, found in mixes.items():
        for rule, counts in found.items():
            print(f"{name:<6} {rule:<12} {counts}")
    result = {
        "what": "faces that stop at exit 1, 2, ... 12",
        "faces": len(faces),
        "environment": environment(),
        "mixes": mixes,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def exits(bundle: str, faces: np.ndarray) -> dict[str, list[int]]:
    found = {}
    with Scorer.open(bundle) as scorer:
        rules = {"convergence": lambda: [Convergence()]}
        for gate in GATES:
            rules[f"gate {gate}"] = lambda gate=gate: (
                scorer.set_gate(gate),
                [scorer.gate_policy()],
            )[1]
        for rule, policies in rules.items():
            depth = scorer.assess(faces, policies()).depth
            found[rule] = np.bincount(depth, minlength=scorer.bundle.config.depth + 1)[1:].tolist()
    return found


if __name__ == "__main__":
    main()
