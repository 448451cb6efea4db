"""Tables and plots of benchmark results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_fiqa.bench.compare import Comparison
from edge_fiqa.bench.endurance import EnduranceResult
from edge_fiqa.bench.loadgen import ScenarioResult
from edge_fiqa.bench.result import BenchResult, BenchRow
from edge_fiqa.errors import BackendMissing, ConfigError, counted
from edge_fiqa.files import write_figure

SHOWN = (
    *("cpu", "board", "cores", "cores_off", "governor", "power_mode", "cpu_mhz", "gpu_mhz"),
    *("temperature_c", "load"),
)


def table(result: BenchResult) -> Iterator[str]:
    """What was measured where, the peaks, and one line per row."""
    shown = [(name, result.environment.get(name)) for name in SHOWN]
    yield ", ".join(f"{name} {value}" for name, value in shown if value is not None)
    for peak in result.peaks:
        rate = f"peak NA: {peak.why}"
        if peak.gflops_per_s is not None and peak.shape is not None:
            shape = " x ".join(map(str, peak.shape))
            rate = f"peak {peak.gflops_per_s:,.0f} GFLOPs/s (product {shape})"
        yield f"{peak.backend} {peak.precision}, {counted(peak.threads, 'thread')}: {rate}"
    power = result.power
    yield (
        f"energy: {power.meter}, idle {power.idle_w} W"
        if power.meter
        else f"no energy: {power.why}"
    )
    for group, rows in groupby(result.rows, key=_group):
        yield f"\n{group}"
        yield (
            f"{'exit':>5} {'batch':>5} {'way':>5} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8}"
            f" {'faces/s':>9} {'GFLOPs':>7} {'of peak':>7} {'MB':>6} {'mJ':>8} {'net mJ':>8}"
        )
        for row in rows:
            yield (
                f"{row.exit:>5} {row.batch:>5} {row.way:>5} {row.p50_ms:8.3f} {row.p90_ms:8.3f}"
                f" {_or_na(row.p99_ms, '8.3f')} {row.faces_per_s:9,.1f} {row.gflops:7.3f}"
                f" {_or_na(row.peak_share, '7.0%')} {_or_na(row.peak_mb, '6.0f')}"
                f" {_or_na(row.gross_mj, '8.2f')} {_or_na(row.net_mj, '8.2f')}"
            )


def comparison(result: Comparison) -> Iterator[str]:
    for warning in result.warnings:
        yield f"warning: {warning}"
    for group, changes in groupby(result.changes, key=lambda change: _group(change.row)):
        yield f"\n{group}: new / old"
        yield f"{'exit':>5} {'batch':>5} {'way':>5} {'ratio':>7} {'95 % interval':>17} {'noise':>6}"
        for c in changes:
            yield (
                f"{c.row.exit:>5} {c.row.batch:>5} {c.row.way:>5} {c.ratio:7.3f}"
                f"   [{c.low:.3f}, {c.high:.3f}] {c.noise:6.1%}  {c.verdict}"
            )


def scenario(result: ScenarioResult) -> Iterator[str]:
    yield (
        f"{result.scenario}: {result.bundle}, {result.backend} {result.precision}, "
        f"{counted(result.engines, 'engine')} x {counted(result.threads, 'thread')}, "
        f"{', '.join(result.policies)}"
    )
    yield (
        f"{counted(result.answered, 'answer', form=',')} from {result.library} {result.faces}, "
        f"{result.mean_depth:.2f} blocks a face"
    )
    yield result.summary.split("=" * 48)[2].strip()


def endurance(result: EnduranceResult) -> Iterator[str]:
    """Six lines of the series, and whether the machine became slower."""
    shown = [(name, result.environment.get(name)) for name in SHOWN]
    yield ", ".join(f"{name} {value}" for name, value in shown if value is not None)
    yield (
        f"{result.bundle}, {result.backend} {result.precision}, {counted(result.threads, 'thread')}, "
        f"exit {result.exit}, batch {result.batch}, without a pause"
    )
    yield f"{'minute':>7} {'p50 ms':>8} {'p99 ms':>8} {'CPU MHz':>8} {'GPU MHz':>8} {'deg C':>6}"
    step = max(1, len(result.intervals) // 10)
    for row in result.intervals[step - 1 :: step]:
        yield (
            f"{row.at_s / 60:7.1f} {row.p50_ms:8.3f} {row.p99_ms:8.3f} {_or_na(row.cpu_mhz, '8.0f')}"
            f" {_or_na(row.gpu_mhz, '8.0f')} {_or_na(row.temperature_c, '6.1f')}"
        )
    verdict = "it THROTTLES" if result.throttled else "no throttling seen"
    yield f"the last tenth took {result.slowdown:.3f} times the ms of the first: {verdict}"


def plot(result: BenchResult, target: Path) -> None:
    """ms against exit, and faces/s against batch at the deepest exit where there are several.

    Raises BackendMissing without matplotlib, ConfigError where `target` cannot be written.
    """
    batches = sorted({row.batch for row in result.rows})
    panels = 1 + (len(batches) > 1)
    figure = new_figure((7.5 if panels == 1 else 12, 4.4))
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _plot_exits(axes[0], result, batches[0])
    if panels > 1:
        _plot_batches(axes[1], result, batches)
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8)
    machine = result.environment
    figure.suptitle(
        f"{machine.get('cpu')}, {counted(machine.get('cores') or 0, 'core')}", fontsize=10
    )
    save_figure(figure, target)


def new_figure(inches: tuple[float, float]) -> Any:
    """Raises BackendMissing without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BackendMissing("--plot needs matplotlib; pip install 'edge-fiqa[bench]'") from exc
    return Figure(figsize=inches, layout="constrained")


def save_figure(figure: Any, target: Path) -> None:
    """Raises ConfigError where `target` cannot be written."""
    try:
        write_figure(figure, target, dpi=130)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{target}: {exc}") from exc


def _plot_exits(ax: Any, result: BenchResult, batch: int) -> None:
    """ms at the median against exit, shaded up to the 90th percentile."""
    for label, rows in _curves(row for row in result.rows if row.batch == batch):
        rows.sort(key=lambda row: row.exit)
        exits, ms = [row.exit for row in rows], [row.p50_ms for row in rows]
        (line,) = ax.plot(exits, ms, marker="o", ms=3.5, label=label)
        ax.fill_between(exits, ms, [row.p90_ms for row in rows], color=line.get_color(), alpha=0.15)
    ax.set(
        xlabel="exit (blocks run)",
        ylabel=f"ms for a batch of {batch} (shade: to p90)",
        ylim=(0, None),
        xticks=sorted({row.exit for row in result.rows}),
    )


def _plot_batches(ax: Any, result: BenchResult, batches: list[int]) -> None:
    """faces/s at the deepest exit against batch."""
    deepest = max(row.exit for row in result.rows)
    for label, rows in _curves(row for row in result.rows if row.exit == deepest):
        rows.sort(key=lambda row: row.batch)
        rates = [row.faces_per_s for row in rows]
        ax.plot([row.batch for row in rows], rates, marker="o", ms=3.5, label=label)
    ax.set(xlabel="faces in a batch", ylabel=f"faces/s at exit {deepest}", ylim=(0, None))
    ax.set_xscale("log", base=2)
    ax.set_xticks(batches, [str(batch) for batch in batches])


def _curves(rows: Iterable[BenchRow]) -> Iterator[tuple[str, list[BenchRow]]]:
    """(label, rows) of every bundle, engine and way."""
    ordered = sorted(rows, key=lambda row: (_group(row), row.way))
    for (group, way), own in groupby(ordered, key=lambda row: (_group(row), row.way)):
        yield f"{group}{', in steps' if way == 'steps' else ''}", list(own)


def _group(row: BenchRow) -> str:
    return f"{row.bundle}, {row.backend} {row.precision}, {counted(row.threads, 'thread')}"


def _or_na(value: float | None, form: str) -> str:
    width = int(form.split(".")[0])
    return f"{'NA':>{width}}" if value is None else f"{value:{form}}"
