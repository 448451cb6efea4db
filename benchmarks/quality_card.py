"""The parts of the models' card that say what scores are worth and how they behave, from results.

    python benchmarks/quality_card.py QUALITY.json BEHAVIOUR.json [--card edge_fiqa/models/README.md]

Results are those of `model_quality.py` and `model_behaviour.py`. The text between the card's marks is
replaced; the sentences around it are written by hand: read them again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from baselines import HAND_MADE, LIGHTQNET
from common import SHIPPED, put_between

EXITS = ("exit 1", "exit 2", "exit 4", "exit 6", "exit 9", "exit 12", "F")
OTHERS = (*HAND_MADE, *LIGHTQNET)
FEW = ("random", "embedding norm", *LIGHTQNET)
FUSED = "FW"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("quality", type=Path, metavar="QUALITY.json")
    options.add_argument("behaviour", type=Path, metavar="BEHAVIOUR.json")
    options.add_argument("--card", type=Path, default=SHIPPED / "README.md")
    arguments = options.parse_args()
    quality, behaviour = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (arguments.quality, arguments.behaviour)
    )
    put_between("table", quality_text(quality), arguments.card)
    put_between("behaviour", behaviour_text(behaviour), arguments.card)


def quality_text(result: dict) -> str:
    """Models by list and exit, other methods by list, and means over the lists."""
    rows = [row for row in result["rows"] if row["fmr"] == 1e-2 and row["unseen"]]
    lists = list(dict.fromkeys(row["list"] for row in rows))
    models = [key.removesuffix(" FW") for key in rows[0]["pauc_e3"] if key.endswith(" FW")]
    of_models = [["list", "model", *EXITS, "FW [95 %, mean of the recognisers]"]]
    of_others = [["list", *OTHERS]]
    for name in lists:
        own = [row for row in rows if row["list"] == name]
        short = name.removesuffix("_gen_test")
        for model in models:
            cells = [_mean(own, f"{model} {judged}") for judged in EXITS]
            of_models.append([short, model, *cells, _with_interval(own, f"{model} {FUSED}")])
        of_others.append([short, *(_mean(own, other) for other in OTHERS)])
    of_all = [
        [
            f"mean over the {_number(len(lists))} lists, unseen recognisers",
            *(f"{model} {FUSED}" for model in models),
            *FEW,
        ]
    ]
    for fmr, said in (("0.01", "1e-2"), ("0.001", "1e-3")):
        means = result["mean"][f"unseen fmr {fmr}"]
        methods = [*(f"{model} {FUSED}" for model in models), *FEW]
        of_all.append([f"FMR {said}", *(f"{means[method]:.2f}" for method in methods)])
    return "\n\n".join(_table(rows) for rows in (of_models, of_others, of_all))


def behaviour_text(result: dict) -> str:
    """A line for each question, a column for each model."""
    models = [key for key, value in result.items() if isinstance(value, dict) and "light" in value]
    each = [result[model] for model in models]
    rows = [["", *models]]
    rows.append(
        [
            "lowest rank correlation of weakness and mean score, any degradation, exit 3 and deeper "
            "(1: falls at every step)",
            *(_least_monotone(one["monotone"]) for one in each),
        ]
    )
    rows.append(
        [
            "faces that score lower at full strength, least of all degradations",
            *(_least_falls(one["faces that fall"]) for one in each),
        ]
    )
    rows.append(
        [
            "mirrored face: deviation of the change / deviation of scores, FW",
            *(f"{one['mirror']['deviation of the change / of scores'][FUSED]:.2f}" for one in each),
        ]
    )
    for light in ("brightness", "contrast", "sharpness"):
        cells = (
            f"{one['light'][light]['plain']:+.2f}, {one['light'][light]['partial']:+.2f}"
            for one in each
        )
        rows.append(
            [f"rank correlation of FW with {light}: plain, partial given usefulness", *cells]
        )
    for judged in ("exit 1", "exit 2", "exit 4", "exit 6", "exit 12"):
        agreement = (one["agreement with FW"].get(judged) for one in each)
        cells = ("" if found is None else f"{found:.3f}" for found in agreement)
        rows.append([f"rank correlation of {judged} with FW", *cells])
    for name in each[0]["sets"]:
        cells = (f"{one['sets'][name]['Spearman with usefulness'][FUSED]:.2f}" for one in each)
        rows.append(
            [f"{name}: rank correlation of FW with usefulness to unseen recognisers", *cells]
        )
    return _table(rows)


def _mean(rows: list[dict], method: str) -> str:
    """Empty where a network has no such exit."""
    if any(method not in row["pauc_e3"] for row in rows):
        return ""
    return f"{np.mean([row['pauc_e3'][method] for row in rows]):.2f}"


def _with_interval(rows: list[dict], method: str) -> str:
    low, high = np.mean([row["interval"][method] for row in rows], axis=0)
    return f"{_mean(rows, method)} [{low:.2f}, {high:.2f}]"


def _least_monotone(monotone: dict[str, dict[str, float]]) -> str:
    values = {
        (name, judged): value
        for name, by_exit in monotone.items()
        for judged, value in by_exit.items()
        if judged not in ("exit 1", "exit 2")
    }
    (name, judged), value = min(values.items(), key=lambda item: np.nan_to_num(item[1], nan=-2))
    return "1.00 (all)" if f"{value:.2f}" == "1.00" else f"{value:.2f} ({name}, {judged})"


def _least_falls(falls: dict[str, float]) -> str:
    name, share = min(falls.items(), key=lambda item: item[1])
    return f"{100 * share:.0f} % ({name})"


def _number(count: int) -> str:
    return {2: "two", 3: "three", 4: "four", 5: "five"}.get(count, str(count))


def _table(rows: list[list[str]]) -> str:
    head, *others = ("|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *others])


if __name__ == "__main__":
    main()
