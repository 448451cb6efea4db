"""Recommended gates: for a largest share of rejected faces, or for a largest FNMR. Pure."""

from __future__ import annotations

from edge_fiqa.calibration.gate_table import KindOfUse
from edge_fiqa.errors import ConfigError

ROUNDING = 1e-5
"""Rates in a table are rounded to this."""


def gate_for_share(use: KindOfUse, share: float) -> int:
    """The highest gate that at least this share of the faces passes."""
    if not 0 < share <= 1:
        raise ConfigError(f"a share of faces lies above 0 and up to 1, got {share:g}")
    rates = [rate or 0.0 for rate in use.passing.rate]
    gates = [gate for gate, rate in enumerate(rates) if rate >= share - ROUNDING]
    if not gates:
        raise ConfigError(
            f"{1 - rates[0]:.1%} of the faces have no finite score; a gate loses them"
        )
    return gates[-1]


def gate_for_reject_rate(use: KindOfUse, rate: float) -> int:
    """The highest gate that rejects at most this share of the faces."""
    if not 0 <= rate < 1:
        raise ConfigError(f"a reject rate lies in [0, 1), got {rate}")
    return gate_for_share(use, 1 - rate)


def gate_for_fnmr(use: KindOfUse, fnmr: float) -> int:
    """The lowest gate from which on mated pairs that pass fail to match at most at this rate.

    A rate rises by chance where few pairs are left: a gate counts only if no higher one is above it.

    Raises ConfigError if no gate that leaves LEAST_PAIRS pairs reaches it, or no pairs are known.
    """
    if not 0 <= fnmr < 1:
        raise ConfigError(f"an FNMR lies in [0, 1), got {fnmr:g}")
    if use.errors is None:
        raise ConfigError(
            f"no pairs of {use.name} faces are known; give edge-fiqa calibrate --pairs, --recogniser"
        )
    rates = use.errors.fnmr.rate
    known = [(gate, rate) for gate, rate in enumerate(rates) if rate is not None]
    too_high = max((gate for gate, rate in known if rate > fnmr + ROUNDING), default=-1)
    reached = [gate for gate, _ in known if gate > too_high]
    if reached:
        return reached[0]
    best = min((rate for _, rate in known), default=1.0)
    raise ConfigError(
        f"no gate brings the FNMR to {fnmr:g} and keeps it there: the best of {use.errors.pairs[0]} "
        f"pairs is {best:.4f}; ask for less, or accept a higher FMR"
    )
