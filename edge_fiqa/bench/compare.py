"""Two results of one machine: faster, slower, or no difference seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge_fiqa.bench.result import BenchResult, BenchRow
from edge_fiqa.bench.timing import resampled_medians
from edge_fiqa.errors import ConfigError, counted

LEAST = 0.02  # smaller changes are noise: two runs of the same code differ that much
DECISIVE = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16"),
)
"""Instruction sets that every result of this schema lists, where the processor has them."""
Verdict = Literal["faster", "slower", "no difference seen"]


@dataclass(frozen=True)
class Change:
    """new / old of a row's ms. low, high: 95 % bootstrap interval of the medians of rounds.

    noise: the change that the machine itself accounts for, at least LEAST.
    """

    row: BenchRow
    ratio: float
    low: float
    high: float
    noise: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]


def compare(old: BenchResult, new: BenchResult) -> Comparison:
    """Rows that both have, by bundle name, engine, precision, threads, exit, batch and way.

    The speed of the machine's own matrix product may differ between the runs. A verdict needs an
    interval that lies beyond that difference, since the code did not cause it.
    """
    before = {row.key: row for row in old.rows}
    changes = tuple(
        _change(before[row.key], row, max(LEAST, _drift(old, new, row)))
        for row in new.rows
        if row.key in before
    )
    return Comparison(changes, tuple(_warnings(old, new, changes)))


def check_same_processor(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises ConfigError for environments of two processors: their ratio says nothing of the code.

    Virtual machines give one name to many processors, so that the instruction sets count as well.
    """
    for name in ("cpu", "board"):
        if old.get(name) != new.get(name):
            raise ConfigError(
                f"--compare: that result is of another processor ({name} {old.get(name)}, here "
                f"{new.get(name)}); a ratio would be the machines', not the code's. Measure it again "
                "here, or say --other-processor"
            )
    had, has = (set(DECISIVE) & set(machine.get("instructions") or ()) for machine in (old, new))
    if had != has:
        raise ConfigError(
            "--compare: that result is of another processor, also called "
            f"{new.get('cpu')}: only one has {', '.join(sorted(had ^ has))}. Measure it again here, "
            "or say --other-processor"
        )


def _change(old: BenchRow, new: BenchRow, noise: float) -> Change:
    a = resampled_medians(np.array(old.round_ms), seed=1)
    b = resampled_medians(np.array(new.round_ms), seed=2)
    low, high = np.quantile(b / a, (0.025, 0.975))
    verdict: Verdict = "no difference seen"
    if high < 1 / (1 + noise):
        verdict = "faster"
    elif low > 1 + noise:
        verdict = "slower"
    ratio = float(np.median(new.round_ms) / np.median(old.round_ms))
    return Change(new, ratio, float(low), float(high), noise, verdict)


def _drift(old: BenchResult, new: BenchResult, row: BenchRow) -> float:
    """By how much the peak of this row's library moved between the runs; 0 where not known."""
    rates = [
        peak.gflops_per_s
        for result in (old, new)
        for peak in result.peaks
        if (peak.backend, peak.precision, peak.threads) == (row.backend, row.precision, row.threads)
        and peak.gflops_per_s
    ]
    return max(rates) / min(rates) - 1 if len(rates) == 2 else 0.0


def _warnings(old: BenchResult, new: BenchResult, changes: Sequence[Change]) -> list[str]:
    warnings = []
    for name in ("cpu", "board", "cores", "governor", "power_mode"):
        a, b = old.environment.get(name), new.environment.get(name)
        if a != b:
            warnings.append(f"{name} was {a}, is {b}: this is not the same machine or mode")
    for name, result in (("old", old), ("new", new)):
        load, cores = result.environment.get("load"), result.environment.get("cores") or 1
        if load is not None and load > 0.5 * cores:
            warnings.append(f"the {name} run began at load {load} on {cores} cores: not idle")
    if not changes:
        warnings.append("the results have no row in common")
    if missing := len(new.rows) - len(changes):
        warnings.append(f"{counted(missing, 'row is', 'rows are')} not in the old result")
    return warnings
