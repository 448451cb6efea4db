"""The figures of a report, as matplotlib figures. They are drawn for light and dark pages alike."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fiqa.errors import BackendMissing
from edge_fiqa.evaluation.report.evaluated_bundle import BundleInfo
from edge_fiqa.evaluation.report.rows import GRID, Cell
from edge_fiqa.evaluation.report.run import Evaluation
from edge_fiqa.files import write_figure
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


def to_png(figure: Figure, target: Path, mode: int = 0o666) -> None:
    """Raises OSError; the file is then as it was."""
    write_figure(figure, target, mode=mode, dpi=110, facecolor="white")


def line_styles(evaluation: Evaluation, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Quality -> colour and line style, the same in every figure."""
    styles: dict[str, tuple[str, str]] = {}
    bundles = [bundle.name for bundle in evaluation.bundles]
    others = 0
    for name in names:
        owner = next((b for b in bundles if name.startswith(f"{b} ")), None)
        if owner is None:
            styles[name] = (OTHER_COLOURS[others % len(OTHER_COLOURS)], STYLES[others % 3])
            others += 1
        else:
            styles[name] = (_bundle_colour(bundles.index(owner)), _fusion_style(name, owner))
    return styles


def _bundle_colour(number: int) -> str:
    return BUNDLE_COLOURS[number % len(BUNDLE_COLOURS)]


def _fusion_style(name: str, bundle: str) -> str:
    fusions = ("FW", "0-100", "F")
    fusion = name.removeprefix(f"{bundle} ")
    return STYLES[fusions.index(fusion)] if fusion in fusions else "-"


def edc_figure(evaluation: Evaluation, cells: Sequence[Cell]) -> Figure:
    """One panel per cell: FNMR against discard."""
    columns = min(len(cells), 4)
    lines = -(-len(cells) // columns)
    figure = new_figure(3.1 * columns, 2.5 * lines + 0.6)
    axes = figure.subplots(lines, columns, squeeze=False)
    names = [n for n in cells[0].curves if not n.endswith((" F", " 0-100"))]
    styles = line_styles(evaluation, names)
    for axis, cell in zip(axes.flat, cells, strict=False):
        _edc_panel(axis, cell, styles, evaluation.limit)
    for axis in axes[-1]:
        axis.set_xlabel("discarded, % of pairs")
    figure.supylabel("FNMR, %", fontsize=9)
    _finish_panels(figure, axes, len(cells), legend_columns=5)
    return figure


def _edc_panel(axis: Any, cell: Cell, styles: dict[str, tuple[str, str]], limit: float) -> None:
    """The curves of a cell, and the theoretical best as a thin line."""
    discard = 100 * np.linspace(0, limit, GRID)
    for name in (n for n in styles if n in cell.curves):
        colour, style = styles[name]
        width = 1.8 if name.endswith(" FW") else 1.1
        fnmr = 100 * np.array(cell.curves[name])
        axis.plot(
            discard, fnmr, color=colour, ls=style, lw=width, drawstyle="steps-post", label=name
        )
    start = 100 * (cell.fnmr or 0)
    axis.plot(discard, np.maximum(start - discard, 0), color=INK, lw=0.6, alpha=0.5)
    axis.set_title(f"{cell.recogniser}", fontsize=8)
    axis.set(xlim=(0, 100 * limit), ylim=(0, 1.15 * start or 1))
    axis.grid(alpha=0.25)


def _finish_panels(figure: Figure, axes: Any, used: int, legend_columns: int) -> None:
    """Hides the panels beyond `used`, and puts one legend below."""
    for axis in axes.flat[used:]:
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=legend_columns,
        frameon=False,
        fontsize=8,
    )


def exits_figure(evaluation: Evaluation) -> Figure:
    """Mean relative pAUC of every exit, one panel per group and FMR."""
    panels = list(evaluation.averages.items())
    columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, 3.0 * lines + 0.5)
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, (title, means) in zip(axes.flat, panels, strict=False):
        _exits_panel(axis, evaluation, means)
        axis.axhline(1, color=INK, lw=0.8, alpha=0.6)
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="exit (blocks run)", ylabel="relative pAUC")
        axis.grid(alpha=0.25)
    _finish_panels(figure, axes, len(panels), legend_columns=4)
    return figure


def _exits_panel(axis: Any, evaluation: Evaluation, means: dict[str, float]) -> None:
    """Exits and stops of bundles as curves over the exits, other qualities as level lines."""
    for number, bundle in enumerate(evaluation.bundles):
        colour, name = _bundle_colour(number), bundle.name
        exits, alone = _by_exit(means, f"{name} exit ")
        axis.plot(exits, alone, "o-", color=colour, ms=3.5, label=f"{name}, exit alone")
        stops, fused = _by_exit(means, f"{name} stop ")
        axis.plot(stops, fused, "s--", color=colour, ms=3, lw=1, label=f"{name}, stopped")
    bundles = tuple(f"{bundle.name} " for bundle in evaluation.bundles)
    others = [name for name in means if not name.startswith(bundles)]
    for name, (colour, style) in line_styles(evaluation, others).items():
        axis.axhline(means[name], color=colour, ls=style, lw=1, label=name)


def _by_exit(means: dict[str, float], prefix: str) -> tuple[list[int], list[float]]:
    """Exits in order, and the means of `prefix` followed by each."""
    exits = sorted(int(n.removeprefix(prefix)) for n in means if n.startswith(prefix))
    return exits, [means[f"{prefix}{k}"] for k in exits]


def trade_off_figure(bundles: Sequence[BundleInfo]) -> Figure:
    """Mean relative pAUC of stopping at an exit, against its cost."""
    timed = [b for b in bundles if all(stop.ms is not None for stop in b.stops)]
    panels = [("gflops", "GFLOPs a face", bundles), ("ms", "ms a face", timed)]
    shown = [panel for panel in panels if panel[2]]
    figure = new_figure(4.6 * len(shown), 3.5)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, (cost, label, own) in zip(axes, shown, strict=True):
        for number, bundle in enumerate(own):
            _trade_off_curve(axis, bundle, cost, number)
        axis.set(xlabel=label, ylabel="relative pAUC (lower is better)", xlim=(0, None))
        axis.margins(y=0.15)
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    return figure


def _trade_off_curve(axis: Any, bundle: BundleInfo, cost: str, number: int) -> None:
    """cost: gflops or ms. Operating points get a ring; they and both ends get their exit's number."""
    colour = _bundle_colour(number)
    costs = [getattr(stop, cost) for stop in bundle.stops]
    relative = [stop.relative for stop in bundle.stops]
    axis.plot(costs, relative, "o-", color=colour, ms=3.5, lw=1.2, label=bundle.name)
    ringed = {point.stop.exit for point in bundle.points}
    ends = {bundle.stops[0].exit, bundle.stops[-1].exit} if bundle.stops else set()
    for stop in (s for s in bundle.stops if s.exit in ringed | ends):
        place = (getattr(stop, cost), stop.relative)
        if stop.exit in ringed:
            axis.plot(*place, "o", ms=10, mfc="none", color=colour)
        axis.annotate(
            str(stop.exit),
            place,
            xytext=(0, 6) if number % 2 == 0 else (0, -12),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=colour,
        )


def attention_figure(rows: Sequence[tuple[str, Bytes | None, Array]]) -> Figure:
    """Rows of (label, face (112, 112, 3) or None, maps (E, 12, 12)): one column per exit.

    The colours of a map span its own values, so maps show the place of attention, not its strength.
    """
    exits = rows[0][2].shape[0]
    figure = new_figure(0.95 * (exits + 1) + 0.4, 1.08 * len(rows) + 0.45)
    axes = figure.subplots(len(rows), exits + 1, squeeze=False)
    for row_axes, (label, face, maps) in zip(axes, rows, strict=True):
        _label_panel(row_axes[0], label, face)
        for axis, attention in zip(row_axes[1:], maps, strict=True):
            _attention_panel(axis, face, attention)
        for axis in row_axes:
            axis.set(xticks=[], yticks=[])
    for k, axis in enumerate(axes[0, 1:], 1):
        axis.set_title(f"exit {k}", fontsize=8)
    return figure


def _label_panel(axis: Any, label: str, face: Bytes | None) -> None:
    if face is None:
        axis.text(0.5, 0.5, label, ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
    else:
        axis.imshow(face)
        axis.set_title(label, fontsize=7)


def _attention_panel(axis: Any, face: Bytes | None, attention: Array) -> None:
    """attention (12, 12), drawn over the face where there is one."""
    if face is not None:
        axis.imshow(face)
    rows, columns = attention.shape
    axis.imshow(
        attention,
        cmap="inferno",
        interpolation="bilinear",
        extent=(0, PATCH * columns, PATCH * rows, 0),
        alpha=1.0 if face is None else 0.6,
    )
    axis.set(xlim=(0, IMAGE), ylim=(IMAGE, 0))
