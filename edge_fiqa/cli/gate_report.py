"""What the gates of a calibration mean, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence

from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.gate_map import same_share, shares_differ
from edge_fiqa.calibration.gate_table import OWN_FACES, GateRates, GateTable, KindOfUse
from edge_fiqa.errors import counted

Uses = Sequence[tuple[KindOfUse, KindOfUse]]  # of the model before, and of this one
ROUND_GATES = tuple(range(10, 100, 10))


def table_lines(model: str, table: GateTable) -> list[str]:
    """A block for each kind of use: which share passes gate 10 to 90, and which error remains."""
    lines = [f"{model}: what a gate means (fusion {table.rule} at full depth; intervals of 95 %)"]
    for use in table.uses:
        head = f"\n{_named(use)}: {use.faces} {use.images}, of {counted(use.persons, 'person')}"
        errors = use.errors
        column = "" if errors is None else f"   FNMR at FMR {errors.fmr:g}, {errors.recogniser}"
        lines += [head, f"  gate  {'passes':<24}{column}"]
        lines += [_line(use, gate) for gate in ROUND_GATES]
    return lines


def _line(use: KindOfUse, gate: int) -> str:
    line = f"{gate:>6}  {use.passing.text(gate):<24}"
    if use.errors is None:
        return line.rstrip()
    return f"{line}   {use.errors.fnmr.text(gate, 2)} of {counted(use.errors.pairs[gate], 'pair')}"


def markdown_lines(table: GateTable) -> list[str]:
    """The same as one table for a document: shares without intervals, errors with them."""
    names = [use.name for use in table.uses]
    with_errors = [use for use in table.uses if use.errors is not None]
    heads = ["gate", *(f"{name} passes" for name in names)]
    heads += [f"FNMR % of {use.name}" for use in with_errors]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for gate in ROUND_GATES:
        cells = [str(gate), *(f"{100 * (use.passing.rate[gate] or 0):.1f} %" for use in table.uses)]
        cells += [use.errors.fnmr.text(gate, 2) for use in with_errors if use.errors]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def meaning(table: GateTable, gate: int) -> str:
    """One line: which share of which faces passes this gate, and which error remains above it."""
    shares = [
        f"{100 * (use.passing.rate[gate] or 0):.0f} % of {_named(use)} faces" for use in table.uses
    ]
    errors = [
        f"{use.errors.fnmr.text(gate)} of {_named(use)}"
        for use in table.uses
        if use.errors is not None and use.errors.fnmr.rate[gate] is not None
    ]
    remains = f"; FNMR that remains: {', '.join(errors)}" if errors else ""
    return f"gate {gate}: passed by {', '.join(shares)}{remains}"


def share_line(use: KindOfUse, gate: int) -> str:
    """The gate for a wanted share."""
    return f"gate {gate} is passed by {use.passing.text(gate)} of {_named(use)} faces"


def fnmr_line(use: KindOfUse, gate: int, wanted: float) -> str:
    """The gate for a wanted error, and whether the interval reaches above it."""
    errors = use.errors
    assert errors is not None  # gate_for_fnmr has refused it
    high = errors.fnmr.high[gate] or 0.0
    doubt = "; not certain, the interval reaches above" if high > wanted else ""
    return (
        f"gate {gate} brings the FNMR of {_named(use)} pairs to {errors.fnmr.text(gate, 2)} at FMR "
        f"{errors.fmr:g} ({errors.recogniser}, {counted(errors.pairs[gate], 'pair')}{doubt}); "
        f"it is passed by {use.passing.text(gate)} of the faces"
    )


def moved_lines(uses: Uses, gates: Sequence[int]) -> list[str]:
    """A line for each kind of use and gate of the model before."""
    lines = []
    for old, new in uses:
        for gate in gates:
            now = same_share(gate, old, new)
            passed, passing = (
                f"{100 * (use.passing.rate[at] or 0):.1f} %"
                for use, at in ((old, gate), (new, now))
            )
            doubt = "; no gate is nearer" if shares_differ(gate, old, new) else ""
            lines.append(
                f"{_named(new)}: gate {gate} passed {passed} of the faces; gate {now} passes "
                f"{passing}{doubt}"
            )
    return lines


def moved_markdown(uses: Uses, gates: Sequence[int]) -> list[str]:
    """The same as one table for a document; NA where no gate passes nearly as many faces."""
    names = [new.name for _, new in uses]
    lines = [f"| gate before | {' | '.join(names)} |", f"|{'---|' * (1 + len(names))}"]
    for gate in gates:
        cells = (
            "NA" if shares_differ(gate, old, new) else str(same_share(gate, old, new))
            for old, new in uses
        )
        lines.append(f"| {gate} | {' | '.join(cells)} |")
    return lines


def moved_gate(old: KindOfUse, new: KindOfUse, gate: int) -> dict[str, object]:
    """The same for scripts; gate null where none passes nearly as many faces."""
    now = same_share(gate, old, new)
    return {
        "use": new.name,
        "was": gate,
        "passed": _with_interval(old.passing, gate),
        "gate": None if shares_differ(gate, old, new) else now,
        "passing": _with_interval(new.passing, now),
    }


def at_gate(use: KindOfUse, gate: int) -> dict[str, object]:
    """The same for scripts."""
    errors = use.errors
    return {
        "use": use.name,
        "gate": gate,
        "passing": _with_interval(use.passing, gate),
        "fnmr": None if errors is None else _with_interval(errors.fnmr, gate),
        "pairs": None if errors is None else errors.pairs[gate],
    }


def _with_interval(rates: GateRates, gate: int) -> tuple[float | None, float | None, float | None]:
    return rates.rate[gate], rates.low[gate], rates.high[gate]


def how_to_get(calibration: Calibration) -> str:
    """What to do with a calibration that does not say what its gates mean."""
    return (
        f"calibration {calibration.id} of {calibration.model} does not say what its gates mean; "
        "measure it on your faces: edge-fiqa calibrate FACES --keep FILE -o FILE"
    )


def _named(use: KindOfUse) -> str:
    return "the calibration's own" if use.name == OWN_FACES else use.name
