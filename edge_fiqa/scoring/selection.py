"""The best faces of many: sorted by quality, the first few of all, or of each person. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_fiqa.arguments import whole_number
from edge_fiqa.record import Record

MOST = 10**9


@dataclass(frozen=True)
class Selection:
    """top: so many of all. per_person: so many of each person, before `top` is taken. None: all.

    Raises ConfigError for numbers below 1.
    """

    top: int | None = None
    per_person: int | None = None

    def __post_init__(self) -> None:
        for name in ("top", "per_person"):
            if getattr(self, name) is not None:
                whole_number(f"--{name.replace('_', '-')}", getattr(self, name), 1, MOST)

    @property
    def limited(self) -> bool:
        """Whether faces are left out. Those without a score are, then."""
        return self.top is not None or self.per_person is not None

    def of(self, records: Iterable[Record], person_of: Callable[[Record], str]) -> list[Record]:
        """The selected ones, best first. Of equal ones the first comes first; NA come last, or go."""
        scored: list[Record] = []
        unscored: list[Record] = []
        for record in records:
            (scored if record.quality.raw is not None else unscored).append(record)
        scored.sort(key=_worth, reverse=True)  # is stable
        if not self.limited:
            return [*scored, *unscored]
        if self.per_person is not None:
            seen: Counter[str] = Counter()
            kept = []
            for record in scored:
                seen[person_of(record)] += 1
                if seen[person_of(record)] <= self.per_person:
                    kept.append(record)
            scored = kept
        return scored[: self.top]


def _worth(record: Record) -> tuple[float, float]:
    """The 0-100 quality, which is comparable between depths; the raw score decides between equal ones.

    A bundle without a calibration has the raw score alone.
    """
    quality = record.quality
    scalar = 0 if quality.scalar is None else quality.scalar
    return scalar, 0.0 if quality.raw is None else quality.raw
