"""The figures of a report, as matplotlib figures. They are drawn for light and dark pages alike."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fiqa.errors import BackendMissing
from edge_fiqa.evaluation.report.rows import GRID, Cell
from edge_fiqa.evaluation.report.run import BundleInfo, Evaluation
from edge_fiqa.types import IMAGE, PATCH, Array, Bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#123457"  # what a page may recolour: text and frames
BUNDLE_COLOURS = ("#3b82c4", "#d2603a", "#2f9e6e", "#9966cc")
OTHER_COLOURS = ("#8a8a8a", "#b08d2e", "#7f9f3f", "#a46a8a", "#5f9ea0", "#c08080", "#777799")
STYLES = ("-", "--", ":", "-.")


def new_figure(width: float, height: float) -> Figure:
    """Raises BackendMissing where matplotlib is not installed."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[evaluate]'") from exc
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    matplotlib.rcParams.update(dict.fromkeys(ink, INK))
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: Figure, label: str) -> str:
    """Inline SVG that takes the page's text colour and width."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue().replace(INK, "currentColor")
    svg = svg[svg.index("<svg") :]
    start = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", svg[: svg.index(">")], count=1)
    start = re.sub(r' height="[^"]+"', "", start, count=1)
    return f'{start} role="img" aria-label="{label}"{svg[svg.index(">") :]}'


def to_png(figure: Figure, target: Any) -> None:
    figure.savefig(target, format="png", dpi=110, facecolor="white")


def colours(study: Evaluation, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Quality -> colour and line style, the same in every figure."""
    found, others = {}, 0
    bundles = [bundle.name for bundle in study.bundles]
    for name in names:
        owner = next((b for b in bundles if name.startswith(f"{b} ")), None)
        if owner is not None:
            rules = ("FW", "0-100", "F")
            rest = name.removeprefix(f"{owner} ")
            style = STYLES[rules.index(rest)] if rest in rules else "-"
            found[name] = (BUNDLE_COLOURS[bundles.index(owner) % len(BUNDLE_COLOURS)], style)
        else:
            found[name] = (OTHER_COLOURS[others % len(OTHER_COLOURS)], STYLES[others % 3])
            others += 1
    return found


def edc_figure(study: Evaluation, cells: Sequence[Cell]) -> Figure:
    """One panel per cell: FNMR against discard."""
    columns = min(len(cells), 4)
    lines = -(-len(cells) // columns)
    figure = new_figure(3.1 * columns, 2.5 * lines + 0.6)
    axes = figure.subplots(lines, columns, squeeze=False)
    names = [n for n in cells[0].curves if not n.endswith((" F", " 0-100"))]
    look = colours(study, names)
    discard = 100 * np.linspace(0, study.limit, GRID)
    for axis, cell in zip(axes.flat, cells, strict=False):
        for name in (n for n in names if n in cell.curves):
            colour, style = look[name]
            width = 1.8 if name.endswith(" FW") else 1.1
            fnmr = 100 * np.array(cell.curves[name])
            axis.plot(
                discard, fnmr, color=colour, ls=style, lw=width, drawstyle="steps-post", label=name
            )
        start = 100 * (cell.fnmr or 0)
        axis.plot(discard, np.maximum(start - discard, 0), color=INK, lw=0.6, alpha=0.5)
        axis.set_title(f"{cell.recogniser}", fontsize=8)
        axis.set(xlim=(0, 100 * study.limit), ylim=(0, 1.15 * start or 1))
        axis.grid(alpha=0.25)
    for axis in axes.flat[len(cells) :]:
        axis.set_axis_off()
    for axis in axes[-1]:
        axis.set_xlabel("discarded, % of pairs")
    figure.supylabel("FNMR, %", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def exits_figure(study: Evaluation) -> Figure:
    """Mean relative pAUC of every exit, one panel per group and FMR."""
    panels = list(study.averages.items())
    columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, 3.0 * lines + 0.5)
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, (title, means) in zip(axes.flat, panels, strict=False):
        others = [n for n in means if not any(n.startswith(f"{b.name} ") for b in study.bundles)]
        for number, bundle in enumerate(study.bundles):
            colour = BUNDLE_COLOURS[number % len(BUNDLE_COLOURS)]
            head = f"{bundle.name} exit "
            exits = sorted(int(n.removeprefix(head)) for n in means if n.startswith(head))
            values = [means[f"{head}{k}"] for k in exits]
            axis.plot(exits, values, "o-", color=colour, ms=3.5, label=f"{bundle.name}, exit alone")
            stops = [k for k in exits if f"{bundle.name} stop {k}" in means]
            fused = [means[f"{bundle.name} stop {k}"] for k in stops]
            axis.plot(
                stops, fused, "s--", color=colour, ms=3, lw=1, label=f"{bundle.name}, stopped"
            )
        look = colours(study, others)
        for name in others:
            axis.axhline(means[name], color=look[name][0], ls=look[name][1], lw=1, label=name)
        axis.axhline(1, color=INK, lw=0.8, alpha=0.6)
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="exit (blocks run)", ylabel="relative pAUC")
        axis.grid(alpha=0.25)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def trade_off_figure(bundles: Sequence[BundleInfo]) -> Figure:
    """Mean relative pAUC of stopping at an exit, against what that costs."""
    timed = [b for b in bundles if all(stop.ms is not None for stop in b.stops)]
    axes_of = [("gflops", "GFLOPs a face", bundles), ("ms", "ms a face", timed)]
    shown = [entry for entry in axes_of if entry[2]]
    figure = new_figure(4.6 * len(shown), 3.5)
    for axis, (key, label, own) in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True
    ):
        for number, bundle in enumerate(own):
            colour = BUNDLE_COLOURS[number % len(BUNDLE_COLOURS)]
            cost = [getattr(stop, key) for stop in bundle.stops]
            worth = [stop.relative for stop in bundle.stops]
            axis.plot(cost, worth, "o-", color=colour, ms=3.5, lw=1.2, label=bundle.name)
            offset = (0, 6) if number % 2 == 0 else (0, -12)
            marked = {point.stop.exit for point in bundle.points}
            ends = {bundle.stops[0].exit, bundle.stops[-1].exit} if bundle.stops else set()
            for stop in (s for s in bundle.stops if s.exit in marked | ends):
                at = (getattr(stop, key), stop.relative)
                if stop.exit in marked:
                    axis.plot(*at, "o", ms=10, mfc="none", color=colour)
                axis.annotate(
                    str(stop.exit),
                    at,
                    xytext=offset,
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=colour,
                )
        axis.set(xlabel=label, ylabel="relative pAUC (lower is better)", xlim=(0, None))
        axis.margins(y=0.15)
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    return figure


def attention_figure(rows: Sequence[tuple[str, Bytes | None, Array]]) -> Figure:
    """Rows of (label, face (112, 112, 3) or None, maps (E, 12, 12)): one column per exit.

    Colours span a map's own values: where it looks, not how hard.
    """
    exits = rows[0][2].shape[0]
    figure = new_figure(0.95 * (exits + 1) + 0.4, 1.08 * len(rows) + 0.45)
    axes = figure.subplots(len(rows), exits + 1, squeeze=False)
    for number, (label, face, maps) in enumerate(rows):
        first = axes[number, 0]
        if face is None:
            first.text(0.5, 0.5, label, ha="center", va="center", transform=first.transAxes)
            first.set_axis_off()
        else:
            first.imshow(face)
            first.set_title(label, fontsize=7)
        for k in range(exits):
            axis = axes[number, k + 1]
            extent = (0, PATCH * maps.shape[2], PATCH * maps.shape[1], 0)
            if face is not None:
                axis.imshow(face)
            axis.imshow(
                maps[k],
                cmap="inferno",
                interpolation="bilinear",
                extent=extent,
                alpha=1.0 if face is None else 0.6,
            )
            axis.set(xlim=(0, IMAGE), ylim=(IMAGE, 0))
            if number == 0:
                axis.set_title(f"exit {k + 1}", fontsize=8)
        for axis in axes[number]:
            axis.set(xticks=[], yticks=[])
    return figure
