"""Results of the benchmark for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from edge_fiqa.bench.compare import Comparison
from edge_fiqa.bench.loadgen import ScenarioResult
from edge_fiqa.bench.result import BenchResult, BenchRow
from edge_fiqa.errors import BackendMissing

SHOWN = ("cpu", "board", "cores", "governor", "power_mode", "load")


def table(result: BenchResult) -> Iterator[str]:
    """What was measured where, the peaks, and one line per row."""
    shown = [(name, result.environment.get(name)) for name in SHOWN]
    yield ", ".join(f"{name} {value}" for name, value in shown if value is not None)
    for peak in result.peaks:
        rate = f"peak NA: {peak.why}"
        if peak.gflops_per_s is not None and peak.shape is not None:
            shape = " x ".join(map(str, peak.shape))
            rate = f"peak {peak.gflops_per_s:,.0f} GFLOPs/s (product {shape})"
        yield f"{peak.backend} {peak.precision}, {peak.threads} threads: {rate}"
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


def comparison(found: Comparison) -> Iterator[str]:
    for warning in found.warnings:
        yield f"warning: {warning}"
    for group, changes in groupby(found.changes, key=lambda change: _group(change.row)):
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
        f"{result.engines} engines x {result.threads} threads, {', '.join(result.policies)}"
    )
    yield (
        f"{result.answered:,} answers from {result.library} {result.faces}, "
        f"{result.mean_depth:.2f} blocks a face"
    )
    yield result.summary.split("=" * 48)[2].strip()


def plot(result: BenchResult, target: Path) -> None:
    """ms against exit, and faces/s against batch at the deepest exit where there are several."""
    try:
        import matplotlib as mpl
    except ImportError as exc:
        raise BackendMissing("--plot needs matplotlib; pip install 'edge-fiqa[bench]'") from exc
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    batches = sorted({row.batch for row in result.rows})
    figure, axes = plt.subplots(
        1, 1 + (len(batches) > 1), figsize=(7.5 if len(batches) == 1 else 12, 4.4), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    by_exit = axes[0, 0]
    for group, rows in groupby(
        sorted((r for r in result.rows if r.batch == batches[0]), key=lambda r: (_group(r), r.way)),
        key=lambda r: f"{_group(r)}{', in steps' if r.way == 'steps' else ''}",
    ):
        line = sorted(rows, key=lambda r: r.exit)
        exits, ms = [r.exit for r in line], [r.p50_ms for r in line]
        drawn = by_exit.plot(exits, ms, marker="o", ms=3.5, label=group)[0]
        by_exit.fill_between(
            exits, ms, [r.p90_ms for r in line], color=drawn.get_color(), alpha=0.15
        )
    by_exit.set(
        xlabel="exit (blocks run)", ylabel=f"ms for a batch of {batches[0]} (shade: to p90)",
        ylim=(0, None), xticks=sorted({row.exit for row in result.rows}),
    )  # fmt: skip
    if len(batches) > 1:
        by_batch = axes[0, 1]
        deepest = max(row.exit for row in result.rows)
        for group, rows in groupby(
            sorted((r for r in result.rows if r.exit == deepest), key=lambda r: (_group(r), r.way)),
            key=lambda r: f"{_group(r)}{', in steps' if r.way == 'steps' else ''}",
        ):
            line = sorted(rows, key=lambda r: r.batch)
            by_batch.plot(
                [r.batch for r in line],
                [r.faces_per_s for r in line],
                marker="o",
                ms=3.5,
                label=group,
            )
        by_batch.set(xlabel="faces in a batch", ylabel=f"faces/s at exit {deepest}", ylim=(0, None))
        by_batch.set_xscale("log", base=2)
        by_batch.set_xticks(batches, [str(b) for b in batches])
    for ax in axes[0]:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    by_exit.legend(fontsize=8)
    figure.suptitle(
        f"{result.environment.get('cpu')}, {result.environment.get('cores')} cores", fontsize=10
    )
    figure.savefig(target, dpi=130)
    plt.close(figure)


def _group(row: BenchRow) -> str:
    return f"{row.bundle}, {row.backend} {row.precision}, {row.threads} threads"


def _or_na(value: float | None, form: str) -> str:
    width = int(form.split(".")[0])
    return f"{'NA':>{width}}" if value is None else f"{value:{form}}"
