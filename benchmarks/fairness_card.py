"""The part of the models' card that says who passes the gate, and its picture, from results.

    python benchmarks/fairness_card.py NANO.json SMALL.json [--card edge_fiqa/models/README.md]

Results are those of `fairness.py`. The text between the card's fairness marks is replaced; the picture
is written beside the first result. The sentences around it are written by hand: read them again.
"""

import argparse
import json
from pathlib import Path

from common import SHIPPED, put_between

UTKFACE = "more/utkface"
LABELS = {"sex": "sex", "age": "age", "race": "race label", "skin tone": "skin tone"}
RECOGNISER = "mobilefacenet_casia_112x96"  # of the gate tables; the other one is in the result
POINTS = "passes more than there, points (widest)"
COLOURS = ("#2166ac", "#b2182b")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    options.add_argument("--card", type=Path, default=SHIPPED / "README.md")
    arguments = options.parse_args()
    results = {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results
    }
    put_between("fairness", text(results), arguments.card)
    plot(list(results.values()), arguments.results[0].with_suffix(".png"))


def text(results: dict[str, dict]) -> str:
    """Of each result, by its file: which gates, a table of groups, and one of errors."""
    return "\n\n".join(
        part
        for name, result in results.items()
        for part in (stated(name, result), groups(result), errors(result))
    )


def short_name(result: dict) -> str:
    return result["model"]["name"].removeprefix("edge-fiqa-")


def two_gates(result: dict) -> list[int]:
    """Those that 95 % and 75 % of portraits pass."""
    return result["gates"][-2:]


def stated(name: str, result: dict) -> str:
    low, high = two_gates(result)
    return (
        f"**{short_name(result)}** ({result['model']['precision'].upper()}), "
        f"from `benchmarks/results/{name}`.\n"
        f"Gate {low} is the one that 95 % of portraits pass, gate {high} 75 %.\n"
        f"The pictures of UTKFace and the other sets of `DATA/more` {training(result)}.\n"
        f"Skin tone is here that of the face."
    )


def training(result: dict) -> str:
    """What training saw of DATA/more; counts of known persons where the result has them."""
    if result["trained_on_more"]:
        return "were part of its training, so their rows are of faces that it knows"
    pictures = "were no part of its training"
    counts = result.get("faces_of_training_persons")
    if (
        counts is None
    ):  # of a result that is older than the counts: the text beside the table has them
        return f"{pictures}; of some sets, persons were"
    sets = ", ".join(f"{source} {count:,}" for source, count in counts.items() if count)
    return f"{pictures}; faces of persons who were: {sets or 'none is known'}"


def groups(result: dict) -> str:
    """UTKFace's groups, tones of the test lists, every source; of too small a group only the size."""
    low, high = two_gates(result)
    head = ["group", "faces", "mean quality", f"passes {low}, %", f"passes {high}, %"]
    head += [f"mean depth, gate {low}", f"gate {high}"]
    head += [f"false exits, gate {low}, %", f"gate {high}, %"]
    rows = [row for row in result["groups"] if is_of_utkface(row)]
    rows += [row for row in result["groups"] if is_tone_of_a_list(row)]
    rows += [row for row in result["groups"] if row["by"] == "source"]
    return table([head, *([label(row), *group_cells(row, [low, high])] for row in rows)])


def is_of_utkface(row: dict) -> bool:
    return row["source"] == UTKFACE and row["by"] in LABELS


def is_tone_of_a_list(row: dict) -> bool:
    return row["by"] == "skin tone" and "/" not in row["source"]


def label(row: dict) -> str:
    if row["by"] == "source":
        return f"source: {row['source']}" + ("" if "/" in row["source"] else " (test list)")
    of_list = f"{row['source']}, " if is_tone_of_a_list(row) else ""
    return f"{of_list}{LABELS[row['by']]}: {row['group']}"


def group_cells(row: dict, gates: list[int]) -> list[str]:
    faces = f"{row['faces']:,}"
    if "too_few" in row:
        return [faces, "too few", *[""] * 6]
    at_gates = [row["gates"][str(gate)] for gate in gates]
    return [
        faces,
        f"{row['quality_mean']:.0f}",
        *(percent(values["accepted"]) for values in at_gates),
        *(f"{values['mean_depth']:.1f}" for values in at_gates),
        *(percent(values["false_exits"]) for values in at_gates),
    ]


def errors(result: dict) -> str:
    """Of each test list and each tone in it: who passes, the error of those, and at equal error."""
    rows = [row for row in result["recognition"] if row["recogniser"] == RECOGNISER]
    reach, gate = f"{100 * rows[0]['fnmr_to_reach']:.1f} %", rows[0]["gate"]
    head = ["test list", "faces", "mated pairs", "FMR x 1e-3", f"passes {gate}, %"]
    head += ["FNMR of those, %", f"own gate for an FNMR of {reach}", "passes it, %", POINTS]
    return (
        f"Errors of the recogniser `{RECOGNISER}`, at one threshold for all, of an FMR of "
        f"{result['fmr']:g} on the lists in colour, and at gate {gate}.\n"
        "Skin tone is here that of the person.\n\n"
    ) + table([head, *([error_label(row), *error_cells(row)] for row in rows)])


def error_label(row: dict) -> str:
    return row["source"] if row["by"] == "source" else f"{row['source']}, {row['group']}"


def error_cells(row: dict) -> list[str]:
    sizes = [f"{row['faces']:,}", f"{row['mated_pairs']:,}"]
    if "too_few" in row:
        return [*sizes, "too few", *[""] * 5]
    own = row["equal_error"]
    return [
        *sizes,
        percent(row["fmr"], 1000),
        percent(row["accepted"]),
        percent(row["fnmr_accepted"]),
        *(["none", "", ""] if own is None else [str(own["gate"]), percent(own["accepted"])]),
        *([] if own is None else [percent(excess(row))]),
    ]


def excess(row: dict) -> list[float]:
    """Accepted at the common gate less accepted at the group's own gate of equal FNMR.

    The ends are the widest that the two intervals allow. Below 0 the common gate refuses more of the
    group than its error asks for; compare it with the group's source (decision 58).
    """
    (common, low, high), (own, own_low, own_high) = row["accepted"], row["equal_error"]["accepted"]
    return [common - own, low - own_high, high - own_low]


def percent(interval: list[float] | None, times: int = 100) -> str:
    """`94.3 [92.5, 95.7]`."""
    if interval is None:
        return "NA"
    rate, low, high = (f"{times * value:.1f}" for value in interval)
    return f"{rate} [{low}, {high}]"


def table(lines: list[list[str]]) -> str:
    head, *rows = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def same_group(result: dict, row: dict) -> dict:
    keys = ("by", "group", "source")
    (other,) = [r for r in result["groups"] if all(r[key] == row[key] for key in keys)]
    return other


def plot(results: list[dict], target: Path) -> None:
    """Acceptance of UTKFace's groups at the two gates, with intervals."""
    from matplotlib.figure import Figure

    rows = [row for row in results[0]["groups"] if is_of_utkface(row) and "too_few" not in row]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for place, axes in enumerate(panels):
        for result, colour in zip(results, COLOURS, strict=False):
            gate = two_gates(result)[place]
            shift = 0.15 if result is results[0] else -0.15
            rates = [same_group(result, row)["gates"][str(gate)]["accepted"] for row in rows]
            middle, low, high = ([100 * rate[k] for rate in rates] for k in range(3))
            y = [len(rows) - number + shift for number in range(len(rows))]
            bars = [
                [m - v for m, v in zip(middle, low, strict=True)],
                [v - m for m, v in zip(middle, high, strict=True)],
            ]
            name = f"{short_name(result)}, gate {gate}"
            axes.errorbar(middle, y, xerr=bars, fmt="o", ms=4, capsize=3, color=colour, label=name)
        axes.set(xlabel="faces that pass, % (95 % interval)")
        axes.legend(fontsize=8, loc="lower left")
        axes.grid(alpha=0.3)
    panels[0].set_yticks(
        [len(rows) - number for number in range(len(rows))],
        [label(row) for row in rows],
        fontsize=9,
    )
    figure.suptitle(
        "UTKFace: bad pictures should fail, so a difference is not yet a fault", fontsize=10
    )
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
