"""Which gate of a new model passes as many faces as a gate of an old one. Pure."""

from __future__ import annotations

from edge_fiqa.calibration.gate_table import GATES, GateTable, KindOfUse
from edge_fiqa.errors import ConfigError

NEAR = 0.02  # share of the faces; a gate that passes more or fewer is no answer


def same_share(gate: int, old: KindOfUse, new: KindOfUse) -> int:
    """The gate of `new` whose share of passing faces is nearest to that of `gate` in `old`.

    Of several that are as near (all of them pass at low gates) the one nearest to `gate`. Gate 0 is no
    gate, and stays. Both are counted on the same faces.
    """
    if gate == 0:
        return 0
    wanted = old.passing.rate[gate] or 0.0
    return min(
        (int(other) for other in GATES),
        key=lambda other: (abs((new.passing.rate[other] or 0.0) - wanted), abs(other - gate)),
    )


def shares_differ(gate: int, old: KindOfUse, new: KindOfUse) -> bool:
    """Whether no gate of `new` passes nearly as many faces as `gate` of `old`."""
    now = new.passing.rate[same_share(gate, old, new)] or 0.0
    return gate > 0 and abs(now - (old.passing.rate[gate] or 0.0)) > NEAR


def shared_uses(old: GateTable, new: GateTable) -> list[tuple[KindOfUse, KindOfUse]]:
    """Kinds of use of both tables, counted on as many faces of as many persons.

    Raises ConfigError if there are none, or if the tables are of two fusion rules.
    """
    if old.rule != new.rule:
        raise ConfigError(f"the gates before are of fusion {old.rule}, and these of {new.rule}")
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
