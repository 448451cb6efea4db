"""Audits of a camera's stream: false alarms while the promise is kept, audits until a broken one shows.

    python benchmarks/audit_streams.py -o RESULT.json

Made-up decisions, no model: a person stays for 50 frames, and all of them flip or none does. `by face`:
every picked face counts, as where the person is not known; `by track`: one face of each person.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from edge_fiqa.audit import Audit

RISK, FRAMES, PERSONS = 0.01, 50, 10_000
TRAIL = np.zeros(1, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200, help="streams of each kind (200)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    rows = [
        row(kind, share, rate, options.times)
        for share in (0.01, 0.1, 1.0)
        for rate in (0.005, 0.01, 0.03, 0.08)
        for kind in ("by face", "by track")
    ]
    result = {"risk": RISK, "frames of a person": FRAMES, "persons": PERSONS, "streams": rows}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def row(kind: str, share: float, rate: float, times: int) -> dict:
    ends = [stream(kind, share, rate, seed) for seed in range(times)]
    alarms = np.array([(persons, audits) for alarm, persons, audits in ends if alarm])
    found = {
        "kind": kind,
        "audited share": share,
        "flip rate": rate,
        "kept": rate <= RISK,
        "alarms_pct": round(100 * len(alarms) / times, 1),
    }
    if rate > RISK and len(alarms):
        found |= {
            "median persons to the alarm": int(np.median(alarms[:, 0])),
            "median audits to the alarm": int(np.median(alarms[:, 1])),
        }
    print(found, flush=True)
    return found


def stream(kind: str, share: float, rate: float, seed: int) -> tuple[bool, int, int]:
    """One camera's persons in turn: whether it alarmed, after how many persons and audits."""
    rng = np.random.default_rng(seed)
    audit = Audit(RISK, share)
    picked = rng.binomial(FRAMES, share, PERSONS)
    flipped = rng.random(PERSONS) < rate
    for person in np.flatnonzero(picked):
        if kind == "by track":
            audit.see(TRAIL, bool(flipped[person]), str(person))
        else:
            for _ in range(picked[person]):
                audit.see(TRAIL, bool(flipped[person]))
        if audit.suspended:
            return True, int(person) + 1, audit.faces
    return False, PERSONS, audit.faces


if __name__ == "__main__":
    main()
