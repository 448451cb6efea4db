"""The best face of one person, and when it is worth telling. Pure.

A score jitters from frame to frame, so a reader of events is told of a face only where it is clearly
better than the one told before; the best one is kept all the same, and the last word has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_fiqa.record import Record


@dataclass
class BestShot:
    """clearly: by how many quality points (0-100) a face must be better than the one told."""

    best: Record | None = None
    told: Record | None = field(default=None, repr=False)

    def offer(self, record: Record, clearly: float) -> Literal["new", "update"] | None:
        """A scored face. Returns what to tell of it: the first, a clearly better one, or nothing.

        `self.best is record` afterwards where it is the best so far. A face that is the first to pass
        the gate is clearly better, by however little.
        """
        value = worth(record)
        if value is None:
            return None
        if self.best is None or value > (worth(self.best) or 0.0):
            self.best = record
        else:
            return None
        if self.told is None:
            self.told = record
            return "new"
        passes = bool(record.decision.accepted) and not self.told.decision.accepted
        if passes or value >= (worth(self.told) or 0.0) + clearly:
            self.told = record
            return "update"
        return None

    def is_good(self, good: float) -> bool:
        """Whether more faces of this person are a luxury."""
        return self.best is not None and (worth(self.best) or 0.0) >= good


def worth(record: Record) -> float | None:
    """0-100 quality, or the raw score where the model is not calibrated; None for a failure."""
    if record.quality.scalar is not None:
        return float(record.quality.scalar)
    return record.quality.raw
