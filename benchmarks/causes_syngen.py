"""Is the cause of low quality named right, where somebody else's operators made the picture bad?

    python benchmarks/causes_syngen.py DATA --run RUN [--split test] [-o RESULT.json]

RUN is a folder of `edge-fiqa train` with `schedule: {causes: ...}`. The operators are those of
ofiq-syngen (MIT; `pip install --no-deps ofiq-syngen==0.5.2 scipy`), without its landmark models; which
cause counts as right for which operator is in causes_syngen.yaml. Causes are reported and put in order
as records do it (docs/reasons.md), with limits from one clean face of each person of one half of the
calibration split, the poorer ones too: so of clean faces at most 5 % get any, blurred and turned ones
included.
Identities of the split were never trained on.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from common import add_data, new_result, parser, read_faces, read_split, write_result

from edge_fiqa.reasons.limits import CauseLimits, fit_limits
from edge_fiqa.training.checkpoint import read_checkpoint
from edge_fiqa.training.degradations.table import DEGRADATIONS
from edge_fiqa.training.recipe import load_config
from edge_fiqa.training.student import Student
from edge_fiqa.types import Array, Bytes

MAP = Path(__file__).with_suffix(".yaml")
SEVERITIES = (0.25, 0.5, 0.7, 0.9)  # at 1.0 its pitch is a singular map, and never returns
JUDGED_FROM = 0.5
TURNED = ("HeadPoseYaw/", "HeadPosePitch/")  # a camera turned before a flat picture, not a head
MEANS = (
    *("first", "first_two", "reported", "any_reported", "first_reported"),
    *("first_by_distance", "first_by_strength"),
)
EXITS = (1, 2, 4, 6, 9, 12)
NAMES = list(DEGRADATIONS)


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--run", type=Path, required=True, help="folder of edge-fiqa train")
    arguments.add_argument("--split", choices=("calibration", "test"), default="calibration")
    arguments.add_argument("--faces", type=int, default=60, help="clean faces to make worse (60)")
    options = arguments.parse_args()
    result = new_result(__doc__) | run(options)
    write_result(result, options.output)
    show(result)


def run(options: argparse.Namespace) -> dict:
    """Limits from clean calibration faces; then clean and degraded ones of the split."""
    student, step = read_student(options.run)
    rng = np.random.default_rng(0)
    half, other_half = np.array_split(clean(options.data, "calibration", rng), 2)
    limits = limits_from(student, half)
    faces = (
        other_half if options.split == "calibration" else clean(options.data, options.split, rng)
    )
    blamed = {exit: rows > 1 for exit, rows in unusual(student, faces, limits).items()}
    rows = []
    for operator, causes, degraded in operators(faces[:: max(1, len(faces) // options.faces)]):
        for severity, pictures in degraded:
            seen = logits(student, pictures)
            for exit, at in zip(EXITS, limits.limits, strict=True):
                own = seen[:, exit - 1]
                row = {"operator": operator, "severity": severity, "exit": exit}
                row |= ranked(limits.unusual(own, exit), causes)
                row["first_by_distance"] = first(own - np.array(at), causes)
                row["first_by_strength"] = first(own, causes)
                rows.append(row)
    return {
        "step": step,
        "split": options.split,
        "clean_faces": len(faces),
        "clean_blamed": {exit: round(float(b.any(1).mean()), 4) for exit, b in blamed.items()},
        "clean_blamed_at_any_exit": round(float(any_exit(blamed).mean()), 4),
        "blamed_for": {
            name: round(float(share), 4)
            for name, share in zip(NAMES, blamed[EXITS[-1]].mean(0), strict=True)
        },
        "rows": rows,
        "all": {exit: over_all(rows, exit) for exit in EXITS},
        "without_turned_cameras": {exit: over_all(rows, exit, TURNED) for exit in EXITS},
    }


def read_student(run: Path) -> tuple[Student, int]:
    """The averaged weights of a run, and after how many steps."""
    state = read_checkpoint(run / "latest.pt", torch.device("cpu"))
    average, recipe = state["average"], load_config(str(run / "recipe.yaml"))
    embeddings, maps = (
        [len(average[key])] if (key := f"{name}.weight") in average else []
        for name in ("recognise", "see")
    )
    student = Student(recipe.model.config(), embeddings, maps, len(NAMES))
    student.load_state_dict(average)
    return student.eval(), state["step"]


def logits(student: Student, faces: Bytes) -> Array:
    """(N, E, D), of faces (N, 112, 112, 3)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(faces), 64):
            x = torch.from_numpy(np.array(faces[start : start + 64])).permute(0, 3, 1, 2)
            parts.append(student(x.float() / 127.5 - 1, None).causes.numpy())
    return np.concatenate(parts)


def limits_from(student: Student, faces: Bytes) -> CauseLimits:
    """As `edge-fiqa calibrate` takes them, of faces of as many persons that all count as good."""
    causes = logits(student, faces)[:, [exit - 1 for exit in EXITS]]
    every, persons = np.ones(len(faces), np.float32), [str(row) for row in range(len(faces))]
    return fit_limits(causes, every, persons, names=NAMES, exits=EXITS, heads="0" * 64)


def unusual(student: Student, faces: Bytes, limits: CauseLimits) -> dict[int, Array]:
    """Exit -> (N, D), above 1 where a cause is reported."""
    causes = logits(student, faces)
    return {exit: limits.unusual(causes[:, exit - 1], exit) for exit in EXITS}


def any_exit(blamed: dict[int, Array]) -> Array:
    """(N,) whether a face gets a cause at one of the exits."""
    return np.any([rows.any(1) for rows in blamed.values()], axis=0)


def clean(data: Path, split: str, rng: np.random.Generator, limit: int = 1400) -> Bytes:
    """Faces with colour, one of every identity, in an order of chance."""
    first = {row["identity"]: row["path"] for row in read_split(data, split, grey=False)}
    paths = sorted(first.values())
    return read_faces(data, [paths[k] for k in rng.permutation(len(paths))[:limit]])


def named_operators() -> list[tuple[str, Callable]]:
    """(component/description, function) of all operators of ofiq-syngen."""
    os.environ["OFIQ_SYNGEN_OFFLINE"] = "1"
    from ofiq_syngen import COMPONENT_REGISTRY

    return [
        (f"{component.removesuffix('.scalar')}/{operator.description}", operator.function)
        for component, variants in sorted(COMPONENT_REGISTRY.items())
        for operator in variants
    ]


def listed_operators() -> list[Callable]:
    """The functions of those that the map judges."""
    judged = tuple(yaml.safe_load(MAP.read_text(encoding="utf-8"))["judged"])
    return [function for name, function in named_operators() if name.startswith(judged)]


def operators(faces: Bytes):
    """(operator, causes that are right, [(severity, degraded faces)]) of every judged operator."""
    judged = yaml.safe_load(MAP.read_text(encoding="utf-8"))["judged"]
    for name, function in named_operators():
        for key, causes in judged.items():
            if name.startswith(key):
                yield key, causes, [(s, degraded(function, faces, s)) for s in SEVERITIES]


def degraded(function: Callable, faces: Bytes, severity: float) -> Bytes:
    """By one operator; its seed is the face's number."""
    return np.stack([by_operator(function, face, severity, s) for s, face in enumerate(faces)])


def by_operator(function: Callable, face: Bytes, severity: float, seed: int) -> Bytes:
    """An RGB face by an operator, which works on BGR."""
    made = function(np.ascontiguousarray(face[..., ::-1]), severity, seed, None)
    return np.asarray(made, np.uint8)[..., ::-1]


def ranked(unusual: Array, causes: list[str]) -> dict:
    """How often one of the right causes is first, first or second, and reported; how often any cause is
    reported, and the right one as the first. unusual: (N, D)."""
    right = np.isin(NAMES, causes)
    best = unusual[:, right].max(1)
    ahead = (unusual[:, ~right] > best[:, None]).sum(1)
    firsts = np.bincount(unusual.argmax(1), minlength=len(NAMES))
    return {
        "first": round(float(((ahead == 0) & (best > -np.inf)).mean()), 4),
        "first_two": round(float(((ahead <= 1) & (best > -np.inf)).mean()), 4),
        "reported": round(float((best > 1).mean()), 4),
        "any_reported": round(float((unusual.max(1) > 1).mean()), 4),
        "first_reported": round(float(((ahead == 0) & (best > 1)).mean()), 4),
        "most_often_first": NAMES[int(firsts.argmax())],
    }


def first(values: Array, causes: list[str]) -> float:
    """How often a right cause has the largest of the values (N, D)."""
    return round(float(np.isin(NAMES, causes)[values.argmax(1)].mean()), 4)


def over_all(rows: list[dict], exit: int, without: tuple[str, ...] = ()) -> dict:
    """Means over the operators, at the severities that count. `reports_right`: of all reports."""
    those = [
        row
        for row in rows
        if row["exit"] == exit
        and row["severity"] >= JUDGED_FROM
        and not row["operator"].startswith(without)
    ]
    said = {key: float(np.mean([row[key] for row in those])) for key in MEANS}
    said["reports_right"] = said["first_reported"] / max(said["any_reported"], 1e-9)
    return {key: round(value, 4) for key, value in said.items()}


def show(result: dict) -> None:
    print(f"step {result['step']}, {result['split']}; clean faces blamed: {result['clean_blamed']}")
    for exit, means in result["all"].items():
        print(f"exit {exit}: {means}")
    for row in result["rows"]:
        if row["exit"] == EXITS[-1] and row["severity"] in (JUDGED_FROM, SEVERITIES[-1]):
            print(*(row[k] for k in ("operator", "severity", "first", "first_two")), end=" ")
            print(row["most_often_first"])


if __name__ == "__main__":
    main()
