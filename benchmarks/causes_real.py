"""Which causes are reported of real pictures: masks, frames of videos, turned heads, portraits?

    python benchmarks/causes_real.py DATA --run RUN [-o RESULT.json]

RUN is a folder of `edge-fiqa train` with `schedule: {causes: ...}`. The pictures are of DATA/more,
which training saw without being told their causes (`own_defects`), and portraits of the test split.
Causes are reported as records do it, with limits from one clean face of each calibration identity.

Turned heads: faces of the test split, by how far SCRFD says that they are turned. Training's turns are
those of another detector (YuNet), on other persons. A strength of 0.5 is a yaw of about 20 degrees;
more than 1 counts as 1.
"""

import argparse
from pathlib import Path

import numpy as np
from causes_syngen import NAMES, clean, limits_from, read_student, unusual
from common import add_data, new_result, parser, write_result
from fairness_faces import read_shards
from scipy.stats import spearmanr
from scrfd import Points

from edge_fiqa.reasons.limits import CauseLimits
from edge_fiqa.training.cause_targets import TURNS
from edge_fiqa.training.head_turn import head_turn
from edge_fiqa.training.pictures import read_rows
from edge_fiqa.training.student import Student
from edge_fiqa.types import Bytes

SETS = {
    "rmfd": "real masks",
    "facemask": "half of them masks",
    "ytf": "frames of videos",
    "aflw": "any pose",
}
SHOWN = (2, 4, 12)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--run", type=Path, required=True, help="folder of edge-fiqa train")
    arguments.add_argument("--faces", type=int, default=300, help="of each set, at most (300)")
    options = arguments.parse_args()
    result = new_result(__doc__) | run(options)
    write_result(result, options.output)
    for row in result["rows"]:
        print(row["set"], f"exit {row['exit']}", row["any"], row["first"])


def run(options: argparse.Namespace) -> dict:
    student, step = read_student(options.run)
    rng = np.random.default_rng(0)
    limits = limits_from(student, clean(options.data, "calibration", rng, 700))
    sets = {name: faces_of(options.data, name, options.faces) for name in SETS}
    sets["test split"] = clean(options.data, "test", rng, options.faces)
    rows = []
    for name, faces in sets.items():
        for exit, values in unusual(student, faces, limits).items():
            if exit in SHOWN:
                rows.append({"set": name, "faces": len(faces), "exit": exit} | reported(values))
    every = clean(options.data, "test", rng, 10 * options.faces)
    points = Points(options.data / "models/det_500m.onnx")
    return {
        "step": step,
        "what the sets are": SETS,
        "rows": rows,
        "turned heads": turned_heads(student, limits, every, points),
    }


def turned_heads(student: Student, limits: CauseLimits, faces: Bytes, points: Points) -> dict:
    """For yaw and pitch at each exit: how many are reported at each strength, and the rank
    correlation of strengths and logits."""
    found = [points.of(face) for face in faces]
    faces = faces[[row is not None for row in found]]
    strengths = np.array([head_turn(row) for row in found if row is not None])
    values, rows = unusual(student, faces, limits), []
    for cause, natural in zip(TURNS, strengths.T, strict=True):
        within = np.digitize(natural, STRENGTHS[1:-1])
        for exit in SHOWN:
            at = values[exit][:, NAMES.index(cause)]
            row = {
                "cause": cause,
                "exit": exit,
                "spearman": round(float(spearmanr(natural, at)[0]), 3),
            }
            for k, low in enumerate(STRENGTHS[:-1]):
                some = at[within == k]
                share = round(float((some > 1).mean()), 3) if len(some) else None
                row[f"{low} to {STRENGTHS[k + 1]}"] = {"faces": len(some), "reported": share}
            rows.append(row)
    return {"without points": sum(row is None for row in found), "rows": rows}


def reported(values: np.ndarray) -> dict:
    """Shares of faces (N, D) with any cause, with each, and with each as the first; the commonest."""
    above, certain = values > 1, (values > 1).any(1)
    first = np.bincount(values[certain].argmax(1), minlength=len(NAMES)) / len(values)
    return {
        "any": round(float(certain.mean()), 3),
        "first": common(first),
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
