"""Which causes are reported of real pictures: masks, frames of videos, turned heads, portraits?

    python benchmarks/causes_real.py DATA --bundle nano [-o RESULT.json]

The pictures are of DATA/more, which training saw without being told their causes (`own_defects`), and
portraits of the test split.
Causes are reported as records do it, with the limits of the bundle's calibration.

Turned heads: faces of the test split, by how far SCRFD says that they are turned. Training's turns are
those of another detector (YuNet), on other persons. A strength of 0.5 is a yaw of about 20 degrees;
more than 1 counts as 1.
"""

import argparse
from pathlib import Path

import numpy as np
from causes_syngen import NAMES, clean, logits, named, own_limits
from common import add_data, new_result, parser, write_result
from fairness_faces import read_shards
from scipy.stats import spearmanr
from scrfd import Points

from edge_fiqa import Scorer
from edge_fiqa.reasons.limits import CauseLimits
from edge_fiqa.training.cause_targets import TURNS
from edge_fiqa.training.head_turn import head_turn
from edge_fiqa.training.pictures import read_rows
from edge_fiqa.types import Array, Bytes

SETS = {
    "rmfd": "real masks",
    "facemask": "half of them masks",
    "ytf": "frames of videos",
    "aflw": "any pose",
}
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--bundle", required=True, help="of a model with cause heads")
    arguments.add_argument("--faces", type=int, default=300, help="of each set, at most (300)")
    options = arguments.parse_args()
    with Scorer.open(options.bundle) as scorer:
        result = new_result(__doc__) | run(scorer, options)
    write_result(result, options.output)
    for row in result["rows"]:
        print(row["set"], f"exit {row['exit']}", row["any"], row["first"])


def run(scorer: Scorer, options: argparse.Namespace) -> dict:
    rng = np.random.default_rng(0)
    limits = own_limits(scorer)
    sets = {name: faces_of(options.data, name, options.faces) for name in SETS}
    sets["test split"] = clean(options.data, "test", rng, options.faces)
    rows = []
    for name, faces in sets.items():
        seen = logits(scorer, faces)
        for exit in limits.reporting:
            stated = {"set": name, "faces": len(faces), "exit": exit}
            rows.append(stated | reported(seen[:, limits.exits.index(exit)], exit, limits))
    every = clean(options.data, "test", rng, 10 * options.faces)
    points = Points(options.data / "models/det_500m.onnx")
    return {
        "bundle": named(scorer),
        "what the sets are": SETS,
        "rows": rows,
        "turned heads": turned_heads(scorer, limits, every, points),
    }


def turned_heads(scorer: Scorer, limits: CauseLimits, faces: Bytes, points: Points) -> dict:
    """For yaw and pitch at each exit: how many are reported at each strength, and the rank
    correlation of strengths and logits."""
    found = [points.of(face) for face in faces]
    faces = faces[[row is not None for row in found]]
    strengths = np.array([head_turn(row) for row in found if row is not None])
    seen, rows = logits(scorer, faces), []
    for cause, natural in zip(TURNS, strengths.T, strict=True):
        within, which = np.digitize(natural, STRENGTHS[1:-1]), NAMES.index(cause)
        for exit in limits.reporting:
            at = seen[:, limits.exits.index(exit)]
            above = limits.reported(at, exit)[:, which]
            row = {
                "cause": cause,
                "exit": exit,
                "spearman": round(float(spearmanr(natural, at[:, which])[0]), 3),
            }
            for k, low in enumerate(STRENGTHS[:-1]):
                some = above[within == k]
                share = round(float(some.mean()), 3) if len(some) else None
                row[f"{low} to {STRENGTHS[k + 1]}"] = {"faces": len(some), "reported": share}
            rows.append(row)
    return {"without points": sum(row is None for row in found), "rows": rows}


def reported(seen: Array, exit: int, limits: CauseLimits) -> dict:
    """Shares of faces with any cause, with each, and with each as the first; the commonest of these.
    seen: (N, D) logits of an exit."""
    certain = limits.certain(seen, exit)
    above = np.isfinite(certain)
    firsts = certain[above.any(1)].argmax(1)
    return {
        "any": round(float(above.any(1).mean()), 3),
        "first": common(np.bincount(firsts, minlength=len(NAMES)) / len(seen)),
        "reported": common(above.mean(0)),
    }


def common(shares: np.ndarray) -> dict[str, float]:
    order = np.argsort(-shares, kind="stable")[:5]
    return {NAMES[k]: round(float(shares[k]), 3) for k in order if shares[k] > 0}


def faces_of(data: Path, name: str, limit: int) -> Bytes:
    """An even sample of a set of DATA/more."""
    rows = [row for row in read_rows(data / "more/faces.csv") if row["dataset"] == name]
    chosen = rows[:: max(1, len(rows) // limit)][:limit]
    return read_shards(data / "more", [(row["shard"], row["member"]) for row in chosen])


if __name__ == "__main__":
    main()
