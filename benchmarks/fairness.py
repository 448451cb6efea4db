"""Who passes the gate: quality, depth and errors by sex, age, race label, skin tone and source.

    python benchmarks/fairness.py DATA --trained-on-more no --utkface-names NAMES.txt \
        [--model nano|small|BUNDLE] -o RESULT.json

Two questions. Groups: of how many faces of each group passes a gate, at which depth, and how often is
the early decision another than that of full depth (UTKFace's labels; other sets by source and skin
tone)? Recognition: on test lists, whose persons are known, what is the recognition error of those who
pass, by source and skin tone, at one threshold for all; and whom would each group's own gate accept if
all had the same error? A differential in acceptance alone says nothing: bad pictures should fail.
UTKFace does not say who its persons are, so there is no recognition error by sex, age or race.
In a group of faces the skin tone is that of the face, in one of recognition that of the person.

DATA/more is what later models are trained on; `--trained-on-more` says whether this one was.
NAMES.txt lists UTKFace's files as published (age_sex_race_time...), one a line: most paths in DATA/more
hold only a class of age, the sex and the time. Without it there are no groups of age and race.
A face of which DATA names no person counts as a person: its intervals are by face, and too narrow if
a person is there several times.
`fairness_card.py` makes the text of the models' card, and a picture, of the results.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import GREY, add_data, new_result, parser, write_result
from fairness_faces import list_set, more_sets
from fairness_rates import (
    LEAST,
    QUANTILES,
    ComparedPairs,
    group_names,
    group_row,
    in_order,
    pair_row,
    person_tones,
    score_set,
)
from pair_lists import UNSEEN, read_pairs, recogniser

from edge_fiqa import Scorer
from edge_fiqa.calibration.gate_table import KindOfUse
from edge_fiqa.calibration.recommend import gate_for_share
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import threshold_at_fmr

LISTS = ("celeba10k", "celeba5", "lfw", "orl")
FMR = 1e-3
INTERVALS = "[rate, low, high] of 95 %, by persons; faces_of_unknown_persons count as a person each"
SHARES = (
    0.95,
    0.75,
)  # of portraits that the two gates let pass


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--model", default="nano", help="nano (default), small, or a bundle")
    arguments.add_argument(
        "--trained-on-more",
        choices=("yes", "no"),
        required=True,
        help="did training see faces of DATA/more, UTKFace among them?",
    )
    arguments.add_argument("--utkface-names", type=Path, metavar="NAMES.txt")
    arguments.add_argument(
        "--faces", type=int, default=400, help="of each set of DATA/more but UTKFace (400)"
    )
    options = arguments.parse_args()
    result = new_result(__doc__)
    with Scorer.open(options.model, threads=1) as scorer:
        gates = report_gates(scorer)
        result |= described(scorer, options.trained_on_more, options.utkface_names, gates)
        result["groups"], result["faces_of_training_persons"], tests = [], {}, []
        for faces in more_sets(options.data, options.utkface_names, options.faces):
            print(f"{faces.source}: {len(faces.faces)} faces", flush=True)
            result["groups"] += group_rows(score_set(scorer, faces, gates))
            result["faces_of_training_persons"][faces.source] = faces.trained
        for name in LISTS:
            paths, *pairs = read_pairs(options.data, f"{name}_gen_test")
            faces = list_set(options.data, name, paths)
            print(f"{name}: {len(paths)} faces", flush=True)
            scored = score_set(scorer, faces, gates)
            result["groups"] += group_rows(scored)
            embeddings = [
                replace(recogniser(options.data, key), threads=1).embed(faces.faces)
                for key in UNSEEN
            ]
            tests.append((scored, tuple(pairs), embeddings))
    result["recognition"] = [
        row
        for number, key in enumerate(UNSEEN)
        for row in recognition_rows(
            key, [ComparedPairs.of(s, pairs, e[number]) for s, pairs, e in tests], gates[0]
        )
    ]
    for row in result["groups"] + result["recognition"]:
        print(json.dumps(row))
    write_result(result, options.output)


def report_gates(scorer: Scorer) -> tuple[int, ...]:
    """The calibration's recommended gate, if it has one, and those that SHARES of portraits pass.

    Errors of recognition are at the first.
    """
    calibration = scorer.calibration
    if calibration is None or calibration.gate_table is None:
        raise ConfigError(f"{scorer.bundle.folder}: no gate table; run edge-fiqa calibrate --keep")
    portraits: KindOfUse = calibration.gate_table.uses[0]
    own = () if calibration.gate is None else (calibration.gate,)
    return (*own, *(gate_for_share(portraits, share) for share in SHARES))


def described(scorer: Scorer, trained: str, names: Path | None, gates: tuple[int, ...]) -> dict:
    manifest = scorer.bundle.manifest
    return {
        "model": {
            "name": manifest.name,
            "precision": manifest.precision,
            "backend": scorer.engine.backend,
            "fingerprint": manifest.fingerprint,
            "calibration": scorer.calibrated,
        },
        "trained_on_more": trained == "yes",
        "age_and_race_known": names is not None,
        "gates": list(gates),
        "portraits_that_pass": list(SHARES),
        "least_faces": LEAST,
        "quantiles": list(QUANTILES),
        "fmr": FMR,
        "intervals": INTERVALS,
    }


def group_rows(scored) -> list[dict]:
    """Of one source: every group of it, by every way to group."""
    return [
        group_row(scored, way, name, names == name)
        for way, (names, order) in group_names(scored).items()
        for name in order
    ]


def recognition_rows(network: str, lists: list[ComparedPairs], gate: int) -> list[dict]:
    """By source, and by the person's skin tone within a source; one threshold, one FNMR to reach."""
    coloured = [compared for compared in lists if compared.scored.source != GREY]
    threshold = threshold_at_fmr(np.concatenate([c.impostor for c in coloured]), FMR)
    target = error_of_all(coloured, threshold, gate)
    rows = []
    for compared in lists:
        source = compared.scored.source
        tones, order = in_order(person_tones(compared.scored))
        groups = [("source", source, np.ones(len(tones), bool))]
        groups += [("skin tone", tone, tones == tone) for tone in order if len(order) > 1]
        for way, name, chosen in groups:
            row = {"recogniser": network, "by": way, "group": name, "source": source}
            row |= {"gate": gate, "fnmr_to_reach": round(target, 5)}
            rows.append(row | pair_row(compared, chosen, threshold, target, gate))
    return rows


def error_of_all(lists: list[ComparedPairs], threshold: float, gate: int) -> float:
    """FNMR of the mated pairs that pass the gate; every list counts alike."""
    rates = [(c.genuine[c.pair_quality >= gate] < threshold).mean() for c in lists]
    return float(np.mean(rates))


if __name__ == "__main__":
    main()
