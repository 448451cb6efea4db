"""The learning curve of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_fiqa.files import write_figure


def read_log(log: Path) -> list[dict[str, Any]]:
    """Rows of a run's log.ndjson; a resumed run's repeated steps count once, the last time."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return list({row["step"]: row for row in rows}.values())


def plot_curve(log: Path) -> Path | None:
    """Loss terms beside rank correlation on held-out persons; writes curve.png beside the log.

    None for a log without a step, as of a finished run whose log was deleted.
    """
    from matplotlib.figure import Figure

    rows = read_log(log)
    if not rows:
        return None
    figure = Figure(figsize=(11, 4), layout="constrained")
    loss, judged = figure.subplots(1, 2)
    for term in [key for key in rows[0] if key not in ("step", "faces_per_s", "validation")]:
        loss.plot([r["step"] for r in rows], [r[term] for r in rows], label=term, lw=1)
    loss.set(xlabel="step", ylabel="weighted loss", yscale="log", title="Training loss by term")
    validated = [row for row in rows if row.get("validation")]
    for name in validated[0]["validation"] if validated else ():
        points = [(r["step"], r["validation"][name]) for r in validated]
        judged.plot(*zip(*points, strict=True), "o-", ms=3, lw=1, label=name)
    judged.set(
        xlabel="step", ylabel="Spearman with the label", title="Held-out persons, averaged weights"
    )
    for axes in (loss, judged):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    target = log.with_name("curve.png")
    write_figure(figure, target, dpi=120)
    return target
