"""edge-fiqa info: what a bundle is."""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

import msgspec

from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.bundle.cause_limits import blamed, why_no_reasons
from edge_fiqa.calibration.scale import form_of
from edge_fiqa.cli.options import add_precision_argument, cores
from edge_fiqa.cli.printing import say
from edge_fiqa.engines.forms import chosen_form, open_form
from edge_fiqa.errors import counted
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.exits.route import route_to
from edge_fiqa.reasons.limits import CauseLimits
from edge_fiqa.record import escape_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", default="nano", metavar="DIR|nano|small")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--threads", type=int, metavar="N", help="that it would compute with")
    add_precision_argument(parser)


def run(options: argparse.Namespace) -> int:
    bundle = open_form(
        options.bundle, threads=options.threads, precision=options.precision, backend=None
    )
    if options.format == "json":
        say(escape_json(msgspec.json.encode(bundle.manifest)).decode())
    else:
        describe(bundle, sys.stdout)
        if options.bundle in SHIPPED_FORMS:
            say(f"\n{form_line(options.bundle, options.threads)}")
    return 0


def form_line(model: str, threads: int | None) -> str:
    """Which form of a shipped model this machine takes by itself, and why."""
    form, threads = chosen_form(model, threads=threads), threads or cores()
    return (
        f"{model} with {counted(threads, 'thread')} here: {form.precision} on {form.backend}, as "
        f"{form.why}; "
        "--precision and --backend overrule it"
    )


def describe(bundle: Bundle, out: TextIO) -> None:
    """Writes the identity of the bundle, then one line per exit with its cost and parity."""
    manifest, network = bundle.manifest, bundle.manifest.network
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    lines = [
        f"{manifest.name}  ({bundle.folder})",
        f"  model       {network.mode} ViT-FIQA, width {network.width}, "
        f"{counted(network.depth, 'block')}, "
        f"{counted(network.heads, 'head')}",
        f"  fingerprint {manifest.fingerprint[:23]}",
        f"  engine      {manifest.backend}, {manifest.precision}, "
        f"{counted(len(manifest.exits), 'segment')}, "
        f"{size:.1f} MB, input {manifest.colour}, built by edge_fiqa {manifest.edge_fiqa}",
    ]
    costs, parity = manifest.costs, manifest.parity
    lines += [
        f"  costs       {costs.device.strip()}, {costs.backend} {costs.backend_version}, "
        f"{counted(costs.threads, 'thread')}, one face",
        f"  parity      against {parity.reference}, {parity.faces} {parity.images}",
    ]
    lines += [f"  calibration {_calibration(bundle)}", f"  reasons     {_reasons(bundle)}"]
    lines += ["", *_exit_table(bundle)]
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


def _reasons(bundle: Bundle) -> str:
    """What records say of why a face is not better."""
    manifest, calibration = bundle.manifest, bundle.calibration
    if not manifest.causes:
        return "none: the network has no heads that read causes"
    if calibration is None or (limits := calibration.causes) is None:
        return "none: no limits of causes; run edge-fiqa calibrate"
    if (missing := why_no_reasons(manifest, calibration)) is not None:
        return missing
    found = f"{counted(len(limits.names), 'cause')}; {blamed(calibration, limits)}"
    return found + _silent(limits)


def _silent(limits: CauseLimits) -> str:
    silent = [str(exit) for exit in limits.exits if exit not in limits.reporting]
    if not silent:
        return ""
    return f"; none at {'exit' if len(silent) == 1 else 'exits'} {', '.join(silent)}"


def _exit_table(bundle: Bundle) -> list[str]:
    table: CostTable = bundle.costs
    parity = {row.exit: row for row in bundle.manifest.parity.exits}
    lines = ["  exit  gflops      ms  max diff  spearman  decisions  +-1 point"]
    quantised = bundle.manifest.precision == "int8"
    lines[0] += "  rms to graph" if quantised else ""
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
        if quantised:
            rms = None if row is None else row.rms_to_graph
            cells.append(f"{'NA':>13}" if rms is None else f"{rms:13.1e}")
        lines.append(" ".join(cells))
    return lines


def _percent(share: float | None, width: int) -> str:
    return f"{'NA':>{width}}" if share is None else f"{100 * share:{width - 2}.2f} %"
