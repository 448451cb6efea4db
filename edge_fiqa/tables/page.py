"""What a Parquet data set of records holds, as one page: quality, exits, reasons, failures, by shard.

Read a part at a time, with counts only in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edge_fiqa.errors import counted
from edge_fiqa.tables.score_set import ScoreSet

BINS = 20
MOST_SHARDS = 200
MOST_WARNINGS = 20
SHARD = r"(?i)^(.*?\.(?:tar|tar\.gz|tgz|parquet))/.*$|^(.*)/[^/]*$|^[^/]+$"
"""The tar or Parquet file of a source, else its folder."""
HERE = "."
"""The folder of a source without one."""
COLUMNS = ("source", "quality", "exit", "reasons", "warnings")


@dataclass
class ShardCounts:
    """faces: all. scored: those with a 0-100 quality, whose sum is `total`. failed: without a score."""

    faces: int = 0
    scored: int = 0
    total: int = 0
    failed: int = 0

    @property
    def mean(self) -> float | None:
        return self.total / self.scored if self.scored else None


@dataclass
class SetSummary:
    """quality: (20,) faces by quality, in steps of 5; 100 counts in the last. causes: reported ones."""

    faces: int = 0
    quality: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    shards: dict[str, ShardCounts] = field(default_factory=dict)

    def see(self, batch: pa.RecordBatch) -> None:
        quality, stop = batch["quality"], batch["exit"]
        scalar, code = pc.struct_field(quality, "scalar"), pc.struct_field(quality, "code")
        self.faces += batch.num_rows
        bins = np.minimum(np.asarray(scalar.drop_null()) * BINS // 100, BINS - 1)
        self.quality.update(bins.tolist())
        self.codes.update(_counts(code))
        self.depths.update(_counts(pc.struct_field(stop, "depth")))
        self.reasons.update(_counts(pc.struct_field(stop, "reason")))
        self.causes.update(_reported_causes(batch))
        scored = pc.equal(code, "ok")
        self.warnings.update(_counts(batch["warnings"].filter(scored).flatten()))
        self._see_shards(batch["source"], scalar, scored)

    def _see_shards(self, source: pa.Array, scalar: pa.Array, scored: pa.Array) -> None:
        shard = pc.replace_substring_regex(source, SHARD, r"\1\2")
        shard = pc.if_else(pc.equal(shard, ""), HERE, shard)
        table = pa.table({"shard": shard, "scalar": scalar, "failed": pc.invert(scored)})
        sums = table.group_by("shard").aggregate(
            [("failed", "count"), ("failed", "sum"), ("scalar", "count"), ("scalar", "sum")]
        )
        for row in sums.to_pylist():
            counts = self.shards.setdefault(row["shard"], ShardCounts())
            counts.faces += row["failed_count"]
            counts.failed += row["failed_sum"] or 0
            counts.scored += row["scalar_count"]
            counts.total += row["scalar_sum"] or 0


def _reported_causes(batch: pa.RecordBatch) -> dict[str, int]:
    """None where no record has reasons: other programs then give such columns the type of nothing."""
    if "reasons" not in batch.schema.names or batch["reasons"].null_count == batch.num_rows:
        return {}
    reported = pc.struct_field(batch["reasons"], "reported").flatten()
    return _counts(pc.struct_field(reported, "cause")) if len(reported) else {}


def _counts(values: pa.Array) -> dict[Any, int]:
    pairs = pc.value_counts(values.drop_null()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}


def summary_of(score_set: ScoreSet) -> SetSummary:
    """Raises ConfigError for a set that cannot be read."""
    summary = SetSummary()
    for batch in score_set.batches(COLUMNS):
        summary.see(batch)
    return summary


def summary_page(score_set: ScoreSet) -> str:
    """HTML in one file, without scripts. Raises ConfigError for a set that cannot be read."""
    summary = summary_of(score_set)
    name, scored = escape(score_set.place.name), summary.codes["ok"]
    quality = {f"{5 * k} to {5 * k + 4 + (k == BINS - 1)}": summary.quality[k] for k in range(BINS)}
    depths = {f"exit {depth}": count for depth, count in sorted(summary.depths.items())}
    body = [
        f"<h1>{name}</h1>",
        f"<p>{counted(summary.faces, 'face', form=',')}, {scored:,} with a score.</p>",
        _bars("Quality", quality),
        _bars("Exits", depths),
        _bars("Reasons for stopping", dict(summary.reasons.most_common())),
        _bars("Codes", dict(summary.codes.most_common())),
        _bars("Reported causes of low quality", dict(summary.causes.most_common())),
        _bars("Warnings of scored faces", dict(summary.warnings.most_common(MOST_WARNINGS))),
        *_shards(summary.shards),
    ]
    return f"{HEAD.format(title=name)}\n" + "\n".join(body) + "\n</body></html>\n"


HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: 1px 8px; text-align: left }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
.bar {{ background: #3a7ca5; height: 0.8em; min-width: 1px }} td.wide {{ width: 22em }}
</style></head><body>"""


def _bars(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    total, most = max(sum(counts.values()), 1), max(*counts.values(), 1)
    rows = [
        f'<tr><td>{escape(str(name))}</td><td class="number">{count:,}</td>'
        f'<td class="number">{count / total:.1%}</td>'
        f'<td class="wide"><div class="bar" style="width:{100 * count / most:.1f}%"></div></td></tr>'
        for name, count in counts.items()
    ]
    return f"<h2>{title}</h2>\n<table>\n" + "\n".join(rows) + "\n</table>"


def _shards(shards: Mapping[str, ShardCounts]) -> Sequence[str]:
    """The worst first: with the most failures, then the lowest mean quality."""
    worst = sorted(shards, key=lambda name: (_failed(shards[name]), name))[:MOST_SHARDS]
    rest = f", the worst {MOST_SHARDS} of {len(shards):,}" if len(shards) > MOST_SHARDS else ""
    rows = [
        f'<tr><td>{escape(name)}</td><td class="number">{shards[name].faces:,}</td>'
        f'<td class="number">{shards[name].failed / shards[name].faces:.1%}</td>'
        f'<td class="number">{_mean(shards[name])}</td></tr>'
        for name in worst
    ]
    head = "<tr><th>shard</th><th>faces</th><th>without a score</th><th>mean quality</th></tr>"
    return [f"<h2>Shards{rest}</h2>", "<table>", head, *rows, "</table>"]


def _failed(counts: ShardCounts) -> tuple[float, float]:
    return -counts.failed / counts.faces, 101.0 if counts.mean is None else counts.mean


def _mean(counts: ShardCounts) -> str:
    return "NA" if counts.mean is None else f"{counts.mean:.1f}"
