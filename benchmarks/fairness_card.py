"""The part of the models' card that says who passes the gate, and its picture, from results.

    python benchmarks/fairness_card.py NANO.json SMALL.json [--card edge_fiqa/models/README.md]

Results are those of `fairness.py`. The text between the card's fairness marks is replaced; the picture
is written beside the first result. The sentences around it are written by hand: read them again.
"""

import argparse
import json
from pathlib import Path

from common import SHIPPED

BEGIN, END = "<!-- fairness -->", "<!-- /fairness -->"
UTKFACE = "more/utkface"
LABELS = {"sex": "sex", "age": "age", "race": "race label", "skin tone": "skin tone"}
RECOGNISER = "mobilefacenet_casia_112x96"  # of the gate tables; the other one is in the result
COLOURS = ("#2166ac", "#b2182b")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    options.add_argument("--card", type=Path, default=SHIPPED / "README.md")
    arguments = options.parse_args()
    results = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.results]
    card = arguments.card.read_text(encoding="utf-8")
    before, after = card[: card.index(BEGIN)], card[card.index(END) + len(END) :]
    block = f"{BEGIN}\n{text(results)}\n{END}"
    arguments.card.write_text(before + block + after, encoding="utf-8")
    plot(results, arguments.results[0].with_suffix(".png"))


def text(results: list[dict]) -> str:
    """Which gates, then four tables: UTKFace's groups, sources, errors, equal error."""
    return "\n\n".join(
        [
            "\n".join(map(stated, results)),
            groups_table(results, [row for row in results[0]["groups"] if is_of_utkface(row)]),
            groups_table(results, [row for row in results[0]["groups"] if row["by"] == "source"]),
            errors_table(results),
        ]
    )


def short_name(result: dict) -> str:
    return result["model"]["name"].removeprefix("edge-fiqa-")


def stated(result: dict) -> str:
    low, high = result["gates"][-2:]
    saw = "saw" if result["trained_on_more"] else "never saw"
    return (
        f"{short_name(result)} ({result['model']['precision'].upper()}): "
        f"gate {low} passes 95 % of portraits, gate {high} 75 %; "
        f"its training {saw} faces of UTKFace and the other sets of `more`."
    )


def is_of_utkface(row: dict) -> bool:
    return row["source"] == UTKFACE and row["by"] in LABELS


def same_group(result: dict, row: dict) -> dict:
    keys = ("by", "group", "source")
    (other,) = [r for r in result["groups"] if all(r[key] == row[key] for key in keys)]
    return other


def groups_table(results: list[dict], rows: list[dict]) -> str:
    head = ["group", "faces"]
    for result in results:
        name, (low, high) = short_name(result), result["gates"][-2:]
        head += [f"{name}: mean", f"passes {low}, %", f"passes {high}, %"]
        head += [f"mean depth at {high}", f"false exits at {high}, %"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [label(row), f"{row['faces']:,}"]
        for result in results:
            cells += group_cells(same_group(result, row), result["gates"][-2:])
        lines.append(cells)
    return table(lines)


def label(row: dict) -> str:
    if row["by"] == "source":
        return row["source"].removeprefix("more/")
    return f"{LABELS[row['by']]}: {row['group']}"


def group_cells(row: dict, gates: list[int]) -> list[str]:
    if "too_few" in row:
        return ["too few", "", "", "", ""]
    low, high = (row["gates"][str(gate)] for gate in gates)
    return [
        f"{row['quality_mean']:.0f}",
        percent(low["accepted"]),
        percent(high["accepted"]),
        f"{high['mean_depth']:.1f}",
        percent(high["false_exits"]),
    ]


def errors_table(results: list[dict]) -> str:
    """Of each source and each tone in it: who passes, the error of those, and at equal error."""
    head = ["test list", "faces", "FMR x 1e-3"]
    for result in results:
        name, gate = short_name(result), result["gates"][-2]
        head += [f"{name}: passes {gate}, %", "FNMR of those, %", "passes at equal FNMR, % (gate)"]
    lines = [head, ["---"] * len(head)]
    for row in (r for r in results[0]["recognition"] if r["recogniser"] == RECOGNISER):
        cells = [error_label(row), f"{row['faces']:,}"]
        cells.append("NA" if row.get("fmr") is None else percent(row["fmr"], 1000))
        for result in results:
            cells += error_cells(same_error(result, row))
        lines.append(cells)
    return table(lines)


def error_label(row: dict) -> str:
    return row["source"] if row["by"] == "source" else f"{row['source']}, {row['group']}"


def same_error(result: dict, row: dict) -> dict:
    keys = ("recogniser", "by", "group", "source")
    (other,) = [r for r in result["recognition"] if all(r[key] == row[key] for key in keys)]
    return other


def error_cells(row: dict) -> list[str]:
    if "too_few" in row:
        return ["too few", "", ""]
    equal = row["equal_error"]
    reached = "not reached" if equal is None else f"{percent(equal['accepted'])} ({equal['gate']})"
    return [percent(row["accepted"]), percent(row["fnmr_accepted"]), reached]


def percent(interval: list[float] | None, times: int = 100) -> str:
    """`94.3 [92.5, 95.7]`."""
    if interval is None:
        return "NA"
    rate, low, high = (f"{times * value:.1f}" for value in interval)
    return f"{rate} [{low}, {high}]"


def table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plot(results: list[dict], target: Path) -> None:
    """Acceptance of UTKFace's groups at the two gates, with intervals."""
    from matplotlib.figure import Figure

    rows = [row for row in results[0]["groups"] if is_of_utkface(row) and "too_few" not in row]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for place, axes in enumerate(panels):
        for result, colour in zip(results, COLOURS, strict=False):
            gate = result["gates"][-2:][place]
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
