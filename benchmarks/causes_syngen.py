"""Is the cause of low quality named right, where somebody else's operators made the picture bad?

    python benchmarks/causes_syngen.py DATA --bundle nano [--split test] [-o RESULT.json]

The operators are those of ofiq-syngen (MIT; `pip install --no-deps ofiq-syngen==0.5.2 scipy`), without
its landmark models; which cause counts as right for which operator is in causes_syngen.yaml. Causes are
reported and put in order as records do it (docs/reasons.md), with two kinds of limits: from one clean
face of each person of one half of the calibration split, the poorer ones too, so that of clean faces at
most 5 % get any, blurred and turned ones included; and those of the bundle ("own"), whose calibration
promises that of good faces only.
Identities of the split were never trained on.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml
from common import add_data, new_result, parser, read_faces, read_split, write_result

from edge_fiqa import Scorer
from edge_fiqa.measurement.all_exits import all_exits_and_causes
from edge_fiqa.reasons.limits import CauseLimits, fit_limits
from edge_fiqa.training.degradations.table import DEGRADATIONS
from edge_fiqa.types import Array, Bytes, Mask

MAP = Path(__file__).with_suffix(".yaml")
SEVERITIES = (0.25, 0.5, 0.7, 0.9)  # at 1.0 its pitch is a singular map, and never returns
JUDGED_FROM = 0.5
TURNED = ("HeadPoseYaw/", "HeadPosePitch/")  # a camera turned before a flat picture, not a head
MEANS = (
    *("first", "first_two", "reported", "any_reported", "first_reported"),
    *("first_by_distance", "first_by_strength"),
)
NAMES = list(DEGRADATIONS)


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--bundle", required=True, help="of a model with cause heads")
    arguments.add_argument("--split", choices=("calibration", "test"), default="calibration")
    arguments.add_argument("--faces", type=int, default=60, help="clean faces to make worse (60)")
    options = arguments.parse_args()
    with Scorer.open(options.bundle) as scorer:
        result = new_result(__doc__) | run(scorer, options)
    write_result(result, options.output)
    show(result)


def run(scorer: Scorer, options: argparse.Namespace) -> dict:
    """Limits from clean calibration faces; then clean and degraded ones of the split."""
    rng = np.random.default_rng(0)
    half, other_half = np.array_split(clean(options.data, "calibration", rng), 2)
    faces = (
        other_half if options.split == "calibration" else clean(options.data, options.split, rng)
    )
    ways = {"own": own_limits(scorer), "limits of all clean faces": limits_from(scorer, half)}
    of_clean = logits(scorer, faces)
    rows: dict[str, list[dict]] = {way: [] for way in ways}
    for operator, causes, degraded in operators(faces[:: max(1, len(faces) // options.faces)]):
        for severity, pictures in degraded:
            seen = logits(scorer, pictures)
            for way, limits in ways.items():
                stated = {"operator": operator, "severity": severity}
                rows[way] += [stated | row for row in rows_of(seen, limits, causes)]
    return {
        "bundle": named(scorer),
        "split": options.split,
        "clean_faces": len(faces),
        **{way: judged(of_clean, limits, rows[way]) for way, limits in ways.items()},
    }


def rows_of(seen: Array, limits: CauseLimits, causes: list[str]) -> Iterator[dict]:
    """What each exit that reports causes says of faces with these. seen: (N, K, D)."""
    for place, (exit, at) in enumerate(zip(limits.exits, limits.limits, strict=True)):
        if at is not None:
            own = seen[:, place]
            yield (
                {"exit": exit}
                | ranked(limits.unusual(own, exit), limits.reported(own, exit), causes)
                | {
                    "first_by_distance": first(own - np.array(at), causes),
                    "first_by_strength": first(own, causes),
                }
            )


def judged(of_clean: Array, limits: CauseLimits, rows: list[dict]) -> dict:
    """Over all operators, and how many clean faces get a cause. of_clean: (N, K, D)."""
    blamed = {
        exit: limits.reported(of_clean[:, place], exit)
        for place, exit in enumerate(limits.exits)
        if exit in limits.reporting
    }
    any_exit = np.any([found.any(1) for found in blamed.values()], axis=0)
    return {
        "clean_blamed": {exit: round(float(b.any(1).mean()), 4) for exit, b in blamed.items()},
        "clean_blamed_at_any_exit": round(float(any_exit.mean()), 4),
        "blamed_for": {
            name: round(float(share), 4)
            for name, share in zip(NAMES, blamed[max(blamed)].mean(0), strict=True)
        },
        "all": {exit: over_all(rows, exit) for exit in limits.reporting},
        "without_turned_cameras": {exit: over_all(rows, exit, TURNED) for exit in limits.reporting},
        "rows": rows,
    }


def named(scorer: Scorer) -> dict[str, str]:
    """Of the bundle that a result is about."""
    manifest = scorer.bundle.manifest
    return {key: getattr(manifest, key) for key in ("name", "precision", "fingerprint")}


def own_limits(scorer: Scorer) -> CauseLimits:
    """Those of the bundle's calibration."""
    calibration = scorer.bundle.calibration
    if calibration is None or calibration.causes is None:
        raise SystemExit(f"{scorer.bundle.folder} has no limits of causes: take a bundle that has")
    return calibration.causes


def logits(scorer: Scorer, faces: Bytes) -> Array:
    """(N, K, D), of faces (N, 112, 112, 3) at the K exits of the bundle."""
    causes = all_exits_and_causes(scorer.engine, faces)[1]
    assert causes is not None  # it has limits
    return causes


def limits_from(scorer: Scorer, faces: Bytes) -> CauseLimits:
    """As `edge-fiqa calibrate` takes them, of faces of as many persons that all count as good."""
    every, persons = np.ones(len(faces), np.float32), [str(row) for row in range(len(faces))]
    exits = scorer.bundle.manifest.exits
    return fit_limits(
        logits(scorer, faces), every, persons, names=NAMES, exits=exits, heads="0" * 64
    )


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


def ranked(unusual: Array, reported: Mask, causes: list[str]) -> dict:
    """How often one of the right causes is first, first or second, and reported; how often any cause is
    reported, and the right one as the first. Those that are reported come first, as in records.
    unusual and reported: (N, D)."""
    right = np.isin(NAMES, causes)
    order = np.lexsort((-unusual, ~reported))  # of each face, first to last
    wrong_before = np.logical_and.accumulate(~right[order], axis=1).sum(1)
    firsts = np.bincount(order[:, 0], minlength=len(NAMES))
    return {
        "first": round(float((wrong_before == 0).mean()), 4),
        "first_two": round(float((wrong_before <= 1).mean()), 4),
        "reported": round(float(reported[:, right].any(1).mean()), 4),
        "any_reported": round(float(reported.any(1).mean()), 4),
        "first_reported": round(float(((wrong_before == 0) & reported.any(1)).mean()), 4),
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
    print(result["bundle"], result["split"])
    for way in ("limits of all clean faces", "own"):
        print(f"{way}: clean faces blamed: {result[way]['clean_blamed']}")
        for exit, means in result[way]["all"].items():
            print(f"exit {exit}: {means}")
    own = result["own"]
    for row in own["rows"]:
        if row["exit"] == max(own["all"]) and row["severity"] in (JUDGED_FROM, SEVERITIES[-1]):
            print(*(row[k] for k in ("operator", "severity", "first", "first_two")), end=" ")
            print(row["most_often_first"])


if __name__ == "__main__":
    main()
