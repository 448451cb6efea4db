"""The best face of one person, and when an event reports it. Pure.

A score changes a little from frame to frame.
So a face is reported only where it is clearly better than the one reported before.
The best face is kept in any case, and the last event of a track has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_fiqa.record import Record


@dataclass
class BestShot:
    """best: the best face so far. reported: the face of the last event."""

    best: Record | None = None
    reported: Record | None = field(default=None, repr=False)

    def offer(
        self, record: Record, clearly: float, *, announced: bool = True
    ) -> Literal["new", "update"] | None:
        """A scored face. Returns the event that reports it: the first, a clearly better one, or None.

        clearly: by how many quality points (0-100) it must be better than the one reported.
        A face that is the first to pass the gate is reported in any case.
        announced: False: nobody may hear of this person yet (see `announce`).
        `self.best is record` afterwards where it is the best so far.
        """
        value = worth(record)
        if value is None or (self.best is not None and value <= (worth(self.best) or 0.0)):
            return None
        self.best = record
        if not announced:
            return None
        if self.reported is None:
            return self.announce()
        passes = bool(record.decision.accepted) and not self.reported.decision.accepted
        if passes or value >= (worth(self.reported) or 0.0) + clearly:
            self.reported = record
            return "update"
        return None

    def announce(self) -> Literal["new"] | None:
        """The event of the best face so far, if there is one and nobody heard of this person."""
        if self.best is None or self.reported is not None:
            return None
        self.reported = self.best
        return "new"

    def is_good(self, threshold: float) -> bool:
        """Whether this person needs no more faces."""
        return self.best is not None and (worth(self.best) or 0.0) >= threshold


def worth(record: Record) -> float | None:
    """0-100 quality, or the raw score where the model is not calibrated; None for a failure."""
    if record.quality.scalar is not None:
        return float(record.quality.scalar)
    return record.quality.raw
