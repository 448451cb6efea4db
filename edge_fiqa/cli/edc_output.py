"""What `edge-fiqa edc` shows of a result: a table for people, and the curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.errors import BackendMissing, ConfigError, counted
from edge_fiqa.files import write_figure


def table(result: dict[str, Any]) -> list[str]:
    last = "pairs left" if result["protocol"] == "fixed" else "impostors left"
    key = "pairs" if result["protocol"] == "fixed" else "impostors"
    people = ""
    if result["identities"] is not None:
        people = f", {counted(result['identities'], 'identity', 'identities', ',')}"
    lines = [
        f"protocol {result['protocol']}, {result['setting']}",
        f"{result['mated']:,} mated and "
        f"{counted(result['non_mated'], 'non-mated pair', form=',')}{people}",
        "",
        f" discard      FNMR  {last}",
    ]
    for point in result["points"]:
        rate = "unresolved" if point["fnmr"] is None else f"{100 * point['fnmr']:.3f} %"
        lines.append(f"{100 * point['discard']:>6.0f} %{rate:>11}{point[key]:>12,}")
    return [*lines, "", *_area_lines(result), *(f"note: {note}" for note in result["notes"])]


def _area_lines(result: dict[str, Any]) -> list[str]:
    """pAUC with its interval, and where it lies between the theoretical best and random."""
    lines = []
    if result["pauc"] is not None:
        lines.append(
            f"pAUC to {result['limit']:g}       {result['pauc']:.6f}{_interval_text(result)}"
        )
    elif result["pauc_resolved"]["limit"]:
        shorter = result["pauc_resolved"]
        lines.append(f"pAUC to {shorter['limit']:g}       {shorter['pauc']:.6f}")
    if "pauc_theoretical_best" in result:
        lines.append(f"theoretical best  {result['pauc_theoretical_best']:.6f}")
        relative = result["pauc_relative"]
        text = "undefined: no errors" if relative is None else f"{relative:.3f}"
        lines.append(f"relative          {text}  (0: theoretical best, 1: discarding at random)")
    return lines


def _interval_text(result: dict[str, Any]) -> str:
    ranges = result.get("pauc_interval_95")
    return "" if ranges is None else f"  [{ranges[0]:.6f}, {ranges[1]:.6f}] 95 %"


def plot(result: dict[str, Any], target: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[evaluate]'") from exc
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    _draw(figure.subplots(), result)
    try:
        write_figure(figure, target, dpi=130)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{target}: {exc}") from exc


def _draw(axes: Any, result: dict[str, Any]) -> None:
    """The curve; for protocol fixed with the theoretical best."""
    rows = result["points"]
    if result["protocol"] == "fixed":
        axes.step(
            result["curve"]["discard"], result["curve"]["fnmr"], where="post", label="measured"
        )
        start, grid = rows[0]["fnmr"], np.linspace(0, result["limit"], 500)
        axes.plot(grid, np.maximum(start - grid, 0), ":", color="0.5", label="theoretical best")
        axes.legend(frameon=False)
    else:
        axes.plot([r["discard"] for r in rows], [r["fnmr"] for r in rows], "o-", ms=3)
    axes.set(xlim=(0, result["limit"]), ylim=(0, None), xlabel="discarded", ylabel="FNMR")
    axes.set_title(f"{result['setting']} (protocol {result['protocol']})", fontsize=10)
    axes.grid(alpha=0.3)
