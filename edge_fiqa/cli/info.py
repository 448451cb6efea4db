"""edge-fiqa info: what a bundle is."""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

import msgspec

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.scale import form_of
from edge_fiqa.cli.printing import say
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.route import route_to
from edge_fiqa.record import escape_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", default="nano", metavar="DIR|nano|small")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    bundle = Bundle.open(options.bundle)
    if options.format == "json":
        say(escape_json(msgspec.json.encode(bundle.manifest)).decode())
    else:
        describe(bundle, sys.stdout)
    return 0


def describe(bundle: Bundle, out: TextIO) -> None:
    """Writes the identity of the bundle, then one line per exit with its cost and parity."""
    manifest, network = bundle.manifest, bundle.manifest.network
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    lines = [
        f"{manifest.name}  ({bundle.folder})",
        f"  model       {network.mode} ViT-FIQA, width {network.width}, {network.depth} blocks, "
        f"{network.heads} heads",
        f"  fingerprint {manifest.fingerprint[:23]}",
        f"  engine      {manifest.backend}, {manifest.precision}, {len(manifest.exits)} segments, "
        f"{size:.1f} MB, input {manifest.colour}, built by edge_fiqa {manifest.edge_fiqa}",
    ]
    costs, parity = manifest.costs, manifest.parity
    lines += [
        f"  costs       {costs.device.strip()}, {costs.backend} {costs.backend_version}, "
        f"{costs.threads} threads, one face",
        f"  parity      against {parity.reference}, {parity.faces} {parity.images}",
    ]
    lines += [f"  calibration {_calibration(bundle)}", "", *_exit_table(bundle)]
    say(*lines, out=out)


def _calibration(bundle: Bundle) -> str:
    calibration = bundle.calibration
    if calibration is None:
        return "none: records have no 0-100 quality; run edge-fiqa calibrate"
    rule = calibration.rules.get("FW") or next(iter(calibration.rules.values()))
    risks = ", ".join(f"{100 * promise.risk:g} %" for promise in rule.promises)
    return (
        f"{calibration.id}, {form_of(rule.scale)} scale (0-100), {calibration.faces} "
        f"{calibration.images}, "
        f"gates at risk {risks}"
    )


def _exit_table(bundle: Bundle) -> list[str]:
    table: CostTable = bundle.costs
    parity = {row.exit: row for row in bundle.manifest.parity.exits}
    lines = ["  exit  gflops      ms  max diff  spearman  decisions  +-1 point"]
    for depth in bundle.manifest.exits:
        steps = route_to(bundle.segments, depth)
        ms, row = table.ms_of(steps), parity.get(depth)
        cells = [
            f"{depth:>6}",
            f"{table.gflops_of(steps):7.3f}",
            f"{'NA':>7}" if ms is None else f"{ms:7.2f}",
            f"{'NA':>9}" if row is None else f"{row.max_abs_difference:9.1e}",
            f"{'NA':>9}" if row is None or row.spearman is None else f"{row.spearman:9.5f}",
            _percent(row.agreement if row else None, 10),
            _percent(row.within_a_point if row else None, 10),
        ]
        lines.append(" ".join(cells))
    return lines


def _percent(share: float | None, width: int) -> str:
    return f"{'NA':>{width}}" if share is None else f"{100 * share:{width - 2}.2f} %"
