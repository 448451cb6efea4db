"""A study written down: one HTML page that needs nothing else, JSON, CSV and the figures."""

from __future__ import annotations

import csv
import io
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edge_fiqa.errors import BackendMissing
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.evaluation.report.figures import (
    attention_figure,
    edc_figure,
    exits_figure,
    to_png,
    to_svg,
    trade_off_figure,
)
from edge_fiqa.evaluation.report.mean_attention import float_weights, mean_maps
from edge_fiqa.evaluation.report.plan import EvaluationPlan, data_name
from edge_fiqa.evaluation.report.run import Evaluation
from edge_fiqa.files import write_whole

LIBRARIES = ("numpy", "onnxruntime", "openvino", "opencv-python")


def write_report(study: Evaluation, plan: EvaluationPlan, root: Path, folder: Path) -> None:
    """report.html, results.json, results.csv and the figures as PNG into `folder`.

    Raises BackendMissing without matplotlib or Jinja2, OSError where nothing can be written.
    """
    told = {"schema": "edge-fiqa-evaluation/1", "environment": environment(), **_tree(study)}
    text = msgspec.json.format(msgspec.json.encode(told), indent=1)
    write_whole(folder / "results.json", text + b"\n")
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(study.rows[0].__struct_fields__))
    writer.writeheader()
    writer.writerows(_tree(row) for row in study.rows)
    write_whole(folder / "results.csv", table.getvalue().encode())
    figures = {}
    for name, label, figure in _figures(study, plan, root):
        to_png(figure, folder / f"{name}.png")
        figures[name] = to_svg(figure, label)
    page = _template().render(
        study=study, figures=figures, environment=told["environment"], tables=_tables(study)
    )
    write_whole(folder / "report.html", page.encode())


def summary(study: Evaluation) -> list[str]:
    """What people read in the terminal: averages of the main qualities, and where to stop."""
    lines = []
    for title, means in study.averages.items():
        lines.append(
            f"mean relative pAUC to a discard of {study.limit:g}; {title}  (0 best, 1 random)"
        )
        main = {n: v for n, v in means.items() if " exit " not in n and " stop " not in n}
        lines += [f"  {name:<24}{value:>7.3f}" for name, value in main.items()]
    for bundle in study.bundles:
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
    for unresolved in sorted({c.unresolved for c in study.cells if c.unresolved}):
        lines.append(f"not resolved: {unresolved}")
    return lines


def environment() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _figures(study: Evaluation, plan: EvaluationPlan, root: Path) -> list[tuple[str, str, Any]]:
    found = [
        ("tradeoff", "Relative pAUC against cost", trade_off_figure(study.bundles)),
        ("exits", "Relative pAUC of every exit", exits_figure(study)),
    ]
    for one in study.sets:
        own = [c for c in study.cells if c.data == one.name and c.curves]
        if own:
            first = [c for c in own if c.fmr == max(cell.fmr for cell in own)]
            label = f"Error versus discard, {one.name}, FMR {first[0].fmr:g}"
            found.append((f"edc-{one.name}", label, edc_figure(study, first)))
    rows: dict[int, list[Any]] = {}
    for bundle, checkpoint in plan.attention.items():
        path = root / checkpoint
        weights = float_weights(str(path) if path.exists() else checkpoint)
        for data in plan.data:
            faces = open_pairs(
                root / data.path, root / data.faces if data.faces else None, data_name(data)
            ).faces
            maps = mean_maps(weights, faces, data_name(data))
            rows.setdefault(len(maps), []).append((f"{bundle}\n{data_name(data)}", None, maps))
    for number, (exits, own_rows) in enumerate(rows.items()):
        name = "attention" if not number else f"attention-{exits}"
        found.append((name, "Mean attention at each exit", attention_figure(own_rows)))
    return found


def _tables(study: Evaluation) -> dict[str, Any]:
    """What the page lists: averages side by side, and per data set and FMR qualities x recognisers."""
    names = list(dict.fromkeys(n for means in study.averages.values() for n in means))
    details = []
    for one in study.sets:
        for fmr in study.fmr:
            rows = [r for r in study.rows if r.data == one.name and r.fmr == fmr]
            if rows:
                recognisers = list(dict.fromkeys(r.recogniser for r in rows))
                by = {(r.quality, r.recogniser): r for r in rows}
                qualities = list(dict.fromkeys(r.quality for r in rows))
                details.append((f"{one.name}, FMR {fmr:g}", recognisers, qualities, by))
    return {"names": names, "details": details}


def _template() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[evaluate]'") from exc
    loader = PackageLoader("edge_fiqa", "study")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")


def _tree(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
