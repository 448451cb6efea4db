"""edge-fiqa gate: which share of faces passes a gate, which error remains, and which gate to take."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.calibration.gate_map import shared_uses
from edge_fiqa.calibration.gate_table import GateTable, KindOfUse
from edge_fiqa.calibration.recommend import gate_for_fnmr, gate_for_share
from edge_fiqa.cli.gate_report import (
    ROUND_GATES,
    at_gate,
    fnmr_line,
    how_to_get,
    markdown_lines,
    meaning,
    moved_gate,
    moved_lines,
    moved_markdown,
    share_line,
    table_lines,
)
from edge_fiqa.cli.options import USUAL_MODEL, usual
from edge_fiqa.cli.printing import say
from edge_fiqa.errors import ConfigError
from edge_fiqa.policies.gate import check_gate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle", metavar="DIR", help=f"or a shipped model: {USUAL_MODEL} (default), small"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="of edge-fiqa calibrate (the bundle's own)"
    )
    parser.add_argument("--use", metavar="NAME", help="only this kind of use")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("gate", type=int, nargs="?", metavar="Q", help="say what this one means")
    wanted.add_argument(
        "--accept", type=float, metavar="SHARE", help="the highest gate that so many faces pass"
    )
    wanted.add_argument(
        "--fnmr", type=float, metavar="RATE", help="the lowest gate above which no more pairs fail"
    )
    parser.add_argument(
        "--was",
        type=Path,
        metavar="FILE",
        help="calibration of the model before: which gate passes as many faces as Q did",
    )
    parser.add_argument("--format", choices=("table", "markdown", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    calibration = _calibration(options)
    if calibration.gate_table is None:
        raise ConfigError(how_to_get(calibration))
    table = _only(calibration.gate_table, options.use)
    if options.was is not None:
        say(*_moved(calibration, table, options))
        return 0
    if any(value is not None for value in (options.gate, options.accept, options.fnmr)):
        if options.format == "markdown":
            raise ConfigError(
                "--format markdown is for the whole table, without Q, --accept, --fnmr"
            )
        say(*_answers(table, options))
    elif options.format == "json":
        say(msgspec.json.encode(table).decode())
    elif options.format == "markdown":
        say(*markdown_lines(table))
    else:
        say(*table_lines(calibration.model, table))
    return 0


def _moved(now: Calibration, table: GateTable, options: argparse.Namespace) -> list[str]:
    """Gates of the model before, and those of this one that pass as many faces."""
    if options.accept is not None or options.fnmr is not None:
        raise ConfigError("--was is for a gate Q or for all, without --accept and --fnmr")
    before = load_calibration(options.was)
    if before.gate_table is None:
        raise ConfigError(how_to_get(before))
    uses = shared_uses(before.gate_table, table)
    gates = ROUND_GATES if options.gate is None else (check_gate(options.gate),)
    if options.format == "json":
        return [json.dumps([moved_gate(old, new, gate) for old, new in uses for gate in gates])]
    if options.format == "markdown":
        return moved_markdown(uses, gates)
    title = (
        f"gates of {before.model} (calibration {before.id}), and those of {now.model} "
        f"({now.id}) that pass as many faces"
    )
    return [title, *moved_lines(uses, gates)]


def _answers(table: GateTable, options: argparse.Namespace) -> list[str]:
    """What one gate means, or which one to take, in lines or as JSON.

    Raises ConfigError where no kind of use has a gate as it is wanted.
    """
    uses = table.uses if options.fnmr is None else _with_pairs(table.uses)
    lines, answers, refusals = [], [], []
    for use in uses:
        try:
            gate, line = _answer(use, options)
        except ConfigError as exc:
            refusals.append(str(exc) if len(uses) == 1 else f"{use.name}: {exc}")
            continue
        lines.append(line)
        answers.append(at_gate(use, gate))
    if not answers:
        raise ConfigError("; ".join(refusals))
    if options.format == "json":
        for refusal in refusals:
            say(f"edge-fiqa gate: {refusal}", error=True)
        return [json.dumps(answers)]
    return [meaning(table, options.gate)] if options.gate is not None else [*lines, *refusals]


def _answer(use: KindOfUse, options: argparse.Namespace) -> tuple[int, str]:
    """The gate for one kind of use, in words. Raises ConfigError where there is none."""
    if options.gate is not None:
        return check_gate(options.gate), ""
    if options.accept is not None:
        gate = gate_for_share(use, options.accept)
        return gate, share_line(use, gate)
    gate = gate_for_fnmr(use, options.fnmr)
    return gate, fnmr_line(use, gate, options.fnmr)


def _calibration(options: argparse.Namespace) -> Calibration:
    """Raises ConfigError where both are given, and the file is of another model than the bundle."""
    if options.calibration is not None and options.bundle is None:
        return load_calibration(options.calibration)
    name = usual(options.bundle, USUAL_MODEL)
    bundle = Bundle.open(name)
    if options.calibration is not None:
        return load_calibration(options.calibration, bundle.manifest.fingerprint)
    if bundle.calibration is None:
        raise ConfigError(f"{name} has no calibration; run edge-fiqa calibrate with it")
    return bundle.calibration


def _only(table: GateTable, name: str | None) -> GateTable:
    uses = tuple(use for use in table.uses if name in (None, use.name))
    if not uses:
        known = ", ".join(use.name for use in table.uses)
        raise ConfigError(f"--use {name} is not one of {known}")
    return msgspec.structs.replace(table, uses=uses)


def _with_pairs(uses: tuple[KindOfUse, ...]) -> tuple[KindOfUse, ...]:
    """Those whose errors are known; all where none is, so that this is said."""
    return tuple(use for use in uses if use.errors is not None) or uses
