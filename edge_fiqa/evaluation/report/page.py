"""The report of an evaluation: one self-contained HTML page, JSON, CSV and the figures."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edge_fiqa.csv_text import csv_line
from edge_fiqa.evaluation.report.figures import (
    attention_figure,
    edc_figure,
    exits_figure,
    to_png,
    to_svg,
    trade_off_figure,
)
from edge_fiqa.evaluation.report.mean_attention import float_weights, mean_maps
from edge_fiqa.evaluation.report.page_template import page_template
from edge_fiqa.evaluation.report.plan import EvaluationPlan, data_name
from edge_fiqa.evaluation.report.run import Evaluation, open_planned
from edge_fiqa.files import write_whole
from edge_fiqa.types import Array, Bytes

CRLF = "\r\n"  # RFC 4180
LIBRARIES = ("numpy", "onnxruntime", "openvino", "opencv-python")


def write_report(evaluation: Evaluation, plan: EvaluationPlan, root: Path, folder: Path) -> None:
    """report.html, results.json, results.csv and the figures as PNG into `folder`.

    Raises BackendMissing without matplotlib or Jinja2, OSError where nothing can be written.
    """
    versions = library_versions()
    results = {"schema": "edge-fiqa-evaluation/1", "environment": versions, **_tree(evaluation)}
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    write_whole(folder / "results.json", text + b"\n")
    lines = [csv_line(evaluation.rows[0].__struct_fields__, CRLF)]
    lines += [csv_line(list(_tree(row).values()), CRLF) for row in evaluation.rows]
    write_whole(folder / "results.csv", "".join(lines).encode())
    figures = {}
    for name, label, figure in _figures(evaluation, plan, root):
        to_png(figure, folder / f"{name}.png")
        figures[name] = to_svg(figure, label)
    page = page_template(__package__).render(
        evaluation=evaluation, figures=figures, environment=versions, tables=_tables(evaluation)
    )
    write_whole(folder / "report.html", page.encode())


def summary(evaluation: Evaluation) -> list[str]:
    """Lines for the terminal: averages of the main qualities, operating points, what is missing."""
    lines = []
    for title, means in evaluation.averages.items():
        lines.append(
            f"mean relative pAUC to a discard of {evaluation.limit:g}; {title}  (0 best, 1 random)"
        )
        main = {n: v for n, v in means.items() if " exit " not in n and " stop " not in n}
        lines += [f"  {name:<24}{value:>7.3f}" for name, value in main.items()]
    for bundle in evaluation.bundles:
        lines += ["", f"{bundle.name} ({bundle.device})"]
        for point in bundle.points:
            stop = point.stop
            ms = "" if stop.ms is None else f", {stop.ms:.2f} ms"
            lines.append(
                f"  {point.name:<16}exit {stop.exit:<3}{stop.relative:.3f}  "
                f"{stop.gflops:.2f} GFLOPs{ms}"
            )
        if not bundle.points:
            lines.append("  no exit is better than chance on these data: nothing is recommended")
    for unresolved in sorted({c.unresolved for c in evaluation.cells if c.unresolved}):
        lines.append(f"not resolved: {unresolved}")
    return lines


def library_versions() -> dict[str, str]:
    """Of Python and LIBRARIES, and the kind of machine."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _figures(
    evaluation: Evaluation, plan: EvaluationPlan, root: Path
) -> Iterator[tuple[str, str, Any]]:
    """(file name, label, figure)."""
    yield "tradeoff", "Relative pAUC against cost", trade_off_figure(evaluation.bundles)
    yield "exits", "Relative pAUC of every exit", exits_figure(evaluation)
    for data_set in evaluation.sets:
        cells = [c for c in evaluation.cells if c.data == data_set.name and c.curves]
        if cells:
            largest_fmr = max(cell.fmr for cell in cells)
            shown = [cell for cell in cells if cell.fmr == largest_fmr]
            label = f"Error versus discard, {data_set.name}, FMR {largest_fmr:g}"
            yield f"edc-{data_set.name}", label, edc_figure(evaluation, shown)
    for number, (exits, rows) in enumerate(_attention_rows(plan, root).items()):
        name = f"attention-{exits}" if number else "attention"
        yield name, "Mean attention at each exit", attention_figure(rows)


def _attention_rows(
    plan: EvaluationPlan, root: Path
) -> dict[int, list[tuple[str, Bytes | None, Array]]]:
    """Number of exits -> rows of `attention_figure`, one for every bundle and data set."""
    rows: dict[int, list[tuple[str, Bytes | None, Array]]] = {}
    for bundle, checkpoint in plan.attention.items():
        path = root / checkpoint
        weights = float_weights(str(path) if path.exists() else checkpoint)
        for data in plan.data:
            name = data_name(data)
            maps = mean_maps(weights, open_planned(data, root).faces, name)
            rows.setdefault(len(maps), []).append((f"{bundle}\n{name}", None, maps))
    return rows


def _tables(evaluation: Evaluation) -> dict[str, Any]:
    """names: of all averaged qualities.

    details: title, recognisers, qualities, (quality, recogniser) -> row, per data set and FMR.
    """
    names = dict.fromkeys(name for means in evaluation.averages.values() for name in means)
    details = []
    for data_set in evaluation.sets:
        for fmr in evaluation.fmr:
            rows = [r for r in evaluation.rows if r.data == data_set.name and r.fmr == fmr]
            if rows:
                recognisers = list(dict.fromkeys(row.recogniser for row in rows))
                qualities = list(dict.fromkeys(row.quality for row in rows))
                row_of = {(row.quality, row.recogniser): row for row in rows}
                title = f"{data_set.name}, FMR {fmr:g}"
                details.append((title, recognisers, qualities, row_of))
    return {"names": list(names), "details": details}


def _tree(value: Any) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.to_builtins(value)
    return tree
