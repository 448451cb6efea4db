"""The picture of `gate_policy.py`: risk asked beside risk found, and what the gates save."""

from pathlib import Path

import numpy as np

COLOURS = ("#2166ac", "#67a9cf", "#777777", "#ef8a62", "#b2182b")


def plot(found: dict, gates: tuple[int, ...], asked: tuple[float, ...], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    risks, saved = figure.subplots(1, 2)
    for place, (gate, colour) in enumerate(zip(gates, COLOURS, strict=True)):
        rows = [row for row in found["simulation"] if row["gate"] == gate]
        x = np.array([100 * row["risk"] for row in rows]) * 1.06 ** (place - 2)
        low, middle, high = np.array([row["risk found_pct"] for row in rows]).T
        bars = (middle - low, high - middle)
        risks.errorbar(x, middle, bars, fmt="o", ms=4, capsize=3, color=colour, label=f"{gate}")
    ends = [0.4, 6.0]
    risks.plot(ends, ends, "k--", lw=1)
    risks.annotate("asked = found", (1.3, 1.6), rotation=24, fontsize=9)
    risks.set(
        xscale="log",
        yscale="log",
        xticks=[100 * r for r in asked],
        xticklabels=[f"{100 * r:g}" for r in asked],
        yticks=[0.1, 0.2, 0.5, 1, 2, 5],
        yticklabels=["0.1", "0.2", "0.5", "1", "2", "5"],
        xlabel="risk asked: % of decisions that may differ from full depth",
        ylabel="risk found, %\n(5, 50, 95 % of calibrations)",
        title="Below the line: the promise is kept",
    )
    for axis in (risks.xaxis, risks.yaxis):
        axis.set_minor_formatter("")
    risks.legend(title="gate (0-100)", fontsize=8, loc="lower right")
    rows = [row for row in found["table"] if row["method"] == "gate"]
    where = np.arange(len(gates))
    ms = [found["ms"][str(gate)]["saved_pct"] for gate in gates]
    saved.bar(where, ms, color=COLOURS)
    for x, row, value in zip(where, rows, ms, strict=True):
        depth = f"{row['mean depth']:.1f} of {found['depth']}"
        text = f"stops after\n{depth}\n{row['flips_pct']:.2f} % differ"
        saved.annotate(text, (x, value + 2), ha="center", fontsize=8)
    saved.set(
        xticks=where,
        xticklabels=[str(gate) for gate in gates],
        ylim=(0, 100),
        xlabel="gate: accept faces of at least this quality",
        ylabel="milliseconds saved against full depth, %",
        title="At a risk of 1 %, confidence 95 %",
    )
    for axes in (risks, saved):
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=120)
