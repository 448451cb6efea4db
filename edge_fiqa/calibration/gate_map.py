"""Which gate of a new model passes as many faces as a gate of an old one. Pure."""

from __future__ import annotations

from edge_fiqa.calibration.gate_table import GATES, GateTable, KindOfUse
from edge_fiqa.errors import ConfigError


def same_share(gate: int, old: KindOfUse, new: KindOfUse) -> int:
    """The gate of `new` whose share of passing faces is nearest to that of `gate` in `old`.

    Of several that are as near (all of them pass at low gates) the one nearest to `gate`. Both are
    counted on the same faces.
    """
    wanted = old.passing.rate[gate] or 0.0
    return min(
        (int(other) for other in GATES),
        key=lambda other: (abs((new.passing.rate[other] or 0.0) - wanted), abs(other - gate)),
    )


def shared_uses(old: GateTable, new: GateTable) -> list[tuple[KindOfUse, KindOfUse]]:
    """Kinds of use of both tables, counted on as many faces of as many persons.

    Raises ConfigError if there are none.
    """
    known = {(use.name, use.images, use.faces, use.persons): use for use in old.uses}
    pairs = [
        (known[key], use)
        for use in new.uses
        if (key := (use.name, use.images, use.faces, use.persons)) in known
    ]
    if not pairs:
        raise ConfigError(
            "the two calibrations count their gates on other faces; make both from the same: "
            "edge-fiqa calibrate FACES --keep FILE -o FILE"
        )
    return pairs
